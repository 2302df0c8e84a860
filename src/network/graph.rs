//! Networks that are no chain of layers: vertices and edges, by level.
//!
//! The level of a vertex is the length of the longest way from it to the output: 0 of the output, lmax of the input. Z-IL is exact
//! where errors arrive at a vertex in one step, so an edge that spans several levels is led through identity vertices, one a
//! level, that do nothing but hold what passes (Salvatori et al. 2022). Edges from the input need none: it is clamped, so it holds
//! what it sends at every moment, and no error moves it.
//!
//! Vertices are numbered by level, the output first; those of one level in the order in which they were written, then identity
//! vertices. Edges are numbered by the vertex that they arrive at, and there as they were written. Matrices are numbered by their
//! first edge: of a chain θ^l is matrix l.

use super::{MAX_DEPTH, Map};
use crate::error::{Error, Result};
use crate::plan::window::Grid;
use std::ops::Range;

/// The most vertices of a graph, identity vertices included.
pub const MAX_VERTICES: usize = 1 << 12;
/// The most edges of a graph.
pub const MAX_EDGES: usize = 1 << 13;

/// Units of a graph that lie at one level: a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Vertex {
    /// Units, at each place.
    pub n: usize,
    /// Places whose units share weights.
    pub places: usize,
    /// What the units are laid out on, where that was said.
    pub grid: Option<Grid>,
    /// The longest way to the output, in edges.
    pub level: usize,
    /// Whether it is an identity vertex: it sends what it holds, and not f of it.
    pub holds: bool,
    /// Its name, as it was written or made of what it holds; nothing for one without.
    pub name: Option<String>,
}

/// What one vertex sends another.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// The vertex that sends.
    pub from: usize,
    /// The vertex that receives.
    pub to: usize,
    /// Fixed maps on the way to where the weights begin.
    pub maps: Vec<Map>,
    /// The number of the matrix, from 1; nothing for an identity.
    pub weights: Option<usize>,
}

/// Rows and columns of weights that one edge has, or several share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matrix {
    /// Units at a place that receive.
    pub rows: usize,
    /// Units that feed each of them.
    pub columns: usize,
    /// Rows and columns of the window of a convolution, or 1.
    pub kernel: usize,
}

/// Vertices, edges, and the weights of these.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    vertices: Vec<Vertex>,
    edges: Vec<Edge>,
    matrices: Vec<Matrix>,
    /// Where each level's vertices begin, and their end.
    starts: Vec<usize>,
    /// The edges that arrive at each vertex, that leave it, and that use each matrix.
    arriving: Vec<Vec<usize>>,
    leaving: Vec<Vec<usize>>,
    uses: Vec<Vec<usize>>,
    /// The words that it was read from, input first.
    words: Vec<String>,
    levelled: bool,
}

/// A vertex as it is written: the vertices before it have smaller numbers.
#[derive(Debug, Clone)]
pub(super) struct Drawn {
    pub(super) n: usize,
    pub(super) places: usize,
    pub(super) grid: Option<Grid>,
    pub(super) name: Option<String>,
    pub(super) arrivals: Vec<Arrival>,
}

/// An edge as it is written, to the vertex that it stands with.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    pub(super) from: usize,
    pub(super) maps: Vec<Map>,
    /// Among the matrices as they were written, from 0.
    pub(super) weights: Option<usize>,
}

/// A vertex of the graph: one that was written, or what holds for it at a level.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    level: usize,
    holds: bool,
    drawn: usize,
}

impl Graph {
    /// The graph of what was written, the input first and the output last, with identity vertices or without.
    pub(super) fn new(drawn: &[Drawn], matrices: &[Matrix], words: Vec<String>, levelled: bool) -> Result<Graph> {
        let levels = levels(drawn);
        let depth = levels.first().copied().unwrap_or(0);
        if depth > MAX_DEPTH {
            return Err(Error::usage(format!(
                "a network may have at most {MAX_DEPTH} levels; the longest way of this one has {depth} edges"
            )));
        }
        let keys = keys(drawn, &levels, levelled)?;
        let edges = edges(drawn, &levels, &keys, levelled)?;
        let vertices = keys.iter().map(|key| vertex(&drawn[key.drawn], *key)).collect();
        let starts = (0..=depth + 1).map(|l| keys.partition_point(|key| key.level < l)).collect();
        let [arriving, leaving] = [(); 2].map(|()| vec![Vec::new(); keys.len()]);
        let (numbered, uses) = (Vec::new(), Vec::new());
        let mut graph = Graph { vertices, edges, matrices: numbered, starts, arriving, leaving, uses, words, levelled };
        graph.number(matrices);
        graph.index();
        Ok(graph)
    }

    /// Which edges touch what.
    fn index(&mut self) {
        self.uses = vec![Vec::new(); self.matrices.len()];
        for (e, edge) in self.edges.iter().enumerate() {
            self.arriving[edge.to].push(e);
            self.leaving[edge.from].push(e);
            edge.weights.into_iter().for_each(|matrix| self.uses[matrix - 1].push(e));
        }
    }

    /// Numbers matrices by their first edge.
    fn number(&mut self, written: &[Matrix]) {
        let mut numbers = vec![None; written.len()];
        for weights in self.edges.iter_mut().filter_map(|edge| edge.weights.as_mut()) {
            let number = *numbers[*weights].get_or_insert_with(|| {
                self.matrices.push(written[*weights]);
                self.matrices.len()
            });
            *weights = number;
        }
    }

    /// Vertices, by their numbers: the output first, the input last.
    pub fn vertices(&self) -> &[Vertex] {
        &self.vertices
    }

    /// Edges, by their numbers.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// Matrices: θ^k is number k − 1.
    pub fn matrices(&self) -> &[Matrix] {
        &self.matrices
    }

    /// The level of the input.
    pub fn lmax(&self) -> usize {
        self.starts.len() - 2
    }

    /// The vertices of a level.
    pub fn level(&self, l: usize) -> Range<usize> {
        self.starts[l]..self.starts[l + 1]
    }

    /// The number of the input.
    pub fn input(&self) -> usize {
        self.vertices.len() - 1
    }

    /// The edges that arrive at a vertex, in order.
    pub fn arriving(&self, vertex: usize) -> impl Iterator<Item = usize> + '_ {
        self.arriving.get(vertex).into_iter().flatten().copied()
    }

    /// The edges that leave a vertex, in order.
    pub fn leaving(&self, vertex: usize) -> impl Iterator<Item = usize> + '_ {
        self.leaving.get(vertex).into_iter().flatten().copied()
    }

    /// The edges that use a matrix, numbered from 1, in order.
    pub fn uses(&self, matrix: usize) -> impl Iterator<Item = usize> + '_ {
        matrix.checked_sub(1).and_then(|at| self.uses.get(at)).into_iter().flatten().copied()
    }

    /// Whether several edges share weights.
    pub fn shares(&self) -> bool {
        self.edges.iter().filter(|edge| edge.weights.is_some()).count() > self.matrices.len()
    }

    /// Whether every error arrives at a vertex in one step.
    pub fn is_levelled(&self) -> bool {
        self.levelled
    }

    /// The same graph, whatever its vertices and weights are called.
    pub(super) fn unnamed(&self) -> Graph {
        let vertices = self.vertices.iter().map(|vertex| Vertex { name: None, ..vertex.clone() }).collect();
        Graph { vertices, words: Vec::new(), ..self.clone() }
    }

    /// The words that it was read from, input first.
    pub(super) fn words(&self) -> &[String] {
        &self.words
    }
}

/// The longest way from each written vertex to the last one.
fn levels(drawn: &[Drawn]) -> Vec<usize> {
    let mut levels = vec![0; drawn.len()];
    for (v, vertex) in drawn.iter().enumerate().rev() {
        for arrival in &vertex.arrivals {
            levels[arrival.from] = levels[arrival.from].max(levels[v] + 1);
        }
    }
    levels
}

/// Whether an edge is led through identity vertices, as far as it spans levels.
fn is_led(from: usize, levelled: bool) -> bool {
    levelled && from != 0
}

/// Every vertex, by its number.
fn keys(drawn: &[Drawn], levels: &[usize], levelled: bool) -> Result<Vec<Key>> {
    // The lowest level to which something has to hold for a vertex.
    let mut lowest = levels.to_vec();
    for (v, vertex) in drawn.iter().enumerate() {
        for arrival in vertex.arrivals.iter().filter(|arrival| is_led(arrival.from, levelled)) {
            lowest[arrival.from] = lowest[arrival.from].min(levels[v] + 1);
        }
    }
    let all: usize = levels.iter().zip(&lowest).map(|(level, lowest)| 1 + level - lowest).sum();
    if all > MAX_VERTICES {
        return Err(Error::usage(format!(
            "a network may have at most {MAX_VERTICES} vertices; this one has {all} with those that hold for a vertex what skips \
             over levels"
        )));
    }
    let mut keys: Vec<Key> = Vec::with_capacity(all);
    for (v, (&level, &lowest)) in levels.iter().zip(&lowest).enumerate() {
        keys.extend((lowest..=level).map(|l| Key { level: l, holds: l != level, drawn: v }));
    }
    keys.sort_unstable();
    Ok(keys)
}

/// Every edge, by its number; weights as they were written.
fn edges(drawn: &[Drawn], levels: &[usize], keys: &[Key], levelled: bool) -> Result<Vec<Edge>> {
    let all: usize = drawn.iter().map(|vertex| vertex.arrivals.len()).sum();
    if all > MAX_EDGES {
        return Err(Error::usage(format!("a network may have at most {MAX_EDGES} edges; {all} given in --layers")));
    }
    // Who sends what a vertex holds, at this level or as near above it as there is one.
    let at = |drawn: usize, level: usize| {
        let key = Key { level, holds: level != levels[drawn], drawn };
        keys.binary_search(&key).unwrap_or(keys.len() - 1)
    };
    let mut edges = Vec::new();
    for (to, key) in keys.iter().enumerate() {
        if key.holds {
            let from = at(key.drawn, key.level + 1);
            edges.push(Edge { from, to, maps: Vec::new(), weights: None });
            continue;
        }
        for arrival in &drawn[key.drawn].arrivals {
            let level = if is_led(arrival.from, levelled) { key.level + 1 } else { levels[arrival.from] };
            let Arrival { maps, weights, .. } = arrival.clone();
            edges.push(Edge { from: at(arrival.from, level), to, maps, weights });
        }
    }
    Ok(edges)
}

fn vertex(drawn: &Drawn, key: Key) -> Vertex {
    let Drawn { n, places, grid, ref name, .. } = *drawn;
    let name = name.as_ref().map(|name| if key.holds { format!("{name} held") } else { name.clone() });
    Vertex { n, places, grid, level: key.level, holds: key.holds, name }
}
