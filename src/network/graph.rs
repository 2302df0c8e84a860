//! Networks that are not chains: vertices and edges, ordered by level.
//!
//! The level of a vertex is the length of the longest path from it to the output: 0 for the output, lmax for the input. Z-IL is exact
//! if each vertex's error arrives in one step. An edge that spans several levels therefore passes through identity vertices, one per
//! level, which only hold the value that passes through (Salvatori et al. 2022). Edges from the input need none: the input is clamped,
//! so it sends the same value at every moment, and no error moves it.
//!
//! Vertices are numbered by level, the output first. Within a level they follow the order of the notation, identity vertices last.
//! Edges are numbered by their target vertex, and within a vertex in the order of the notation. Matrices are numbered by their
//! first edge; in a chain θ^l is matrix l.

use super::{MAX_DEPTH, Map};
use crate::error::{Error, Result};
use crate::plan::window::Grid;
use std::ops::Range;

/// The largest number of vertices in a graph, identity vertices included.
pub const MAX_VERTICES: usize = 1 << 12;
/// The largest number of edges in a graph.
pub const MAX_EDGES: usize = 1 << 13;

/// A vertex: a layer of units at one level of the graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Vertex {
    /// Units, at each place.
    pub n: usize,
    /// Places whose units share weights.
    pub places: usize,
    /// The grid of the units, if they have one.
    pub grid: Option<Grid>,
    /// The length of the longest path to the output, in edges.
    pub level: usize,
    /// Whether it is an identity vertex: it sends the value it holds, and does not apply f.
    pub holds: bool,
    /// The name from the notation; an identity vertex derives its name from the vertex whose value it holds. `None` if there is none.
    pub name: Option<String>,
}

/// A connection from one vertex to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// The vertex that sends.
    pub from: usize,
    /// The vertex that receives.
    pub to: usize,
    /// Fixed maps between the source vertex and the weights.
    pub maps: Vec<Map>,
    /// The index of the weight matrix, from 1; `None` for an identity.
    pub weights: Option<usize>,
}

/// The shape of a weight matrix, which one edge uses or several share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matrix {
    /// Rows: the receiving units at one place.
    pub rows: usize,
    /// Columns: the fan-in of a unit.
    pub columns: usize,
    /// The side of a convolution's kernel; 1 otherwise.
    pub kernel: usize,
}

/// A directed acyclic graph: vertices, edges, and the shapes of the weight matrices.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    vertices: Vec<Vertex>,
    edges: Vec<Edge>,
    matrices: Vec<Matrix>,
    /// The first vertex of each level, and the number of vertices at the end.
    starts: Vec<usize>,
    /// Edges that arrive at each vertex, that leave each vertex, and that use each matrix.
    arriving: Vec<Vec<usize>>,
    leaving: Vec<Vec<usize>>,
    uses: Vec<Vec<usize>>,
    /// The words of its notation, input first.
    words: Vec<String>,
    levelled: bool,
}

/// A vertex of the notation. Every source of its edges has a smaller index.
#[derive(Debug, Clone)]
pub(super) struct ParsedVertex {
    pub(super) n: usize,
    pub(super) places: usize,
    pub(super) grid: Option<Grid>,
    pub(super) name: Option<String>,
    pub(super) edges: Vec<ParsedEdge>,
}

/// An edge of the notation, listed with its target vertex.
#[derive(Debug, Clone)]
pub(super) struct ParsedEdge {
    pub(super) from: usize,
    pub(super) maps: Vec<Map>,
    /// Index into the matrices in the order of the notation, from 0.
    pub(super) weights: Option<usize>,
}

/// The sort key of a graph's vertex: a vertex of the notation, or an identity vertex that holds its value at a lower level.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    level: usize,
    holds: bool,
    parsed: usize,
}

impl Graph {
    /// The graph of the notation's vertices (input first, output last), with or without identity vertices.
    pub(super) fn new(
        parsed: &[ParsedVertex],
        matrices: &[Matrix],
        words: Vec<String>,
        levelled: bool,
    ) -> Result<Graph> {
        let levels = levels(parsed);
        let depth = levels.first().copied().unwrap_or(0);
        if depth > MAX_DEPTH {
            return Err(Error::usage(format!(
                "a network may have at most {MAX_DEPTH} levels; the longest path of this one has {depth} edges"
            )));
        }
        let keys = keys(parsed, &levels, levelled)?;
        let edges = edges(parsed, &levels, &keys, levelled)?;
        let vertices = keys.iter().map(|key| vertex(&parsed[key.parsed], *key)).collect();
        let starts = (0..=depth + 1).map(|l| keys.partition_point(|key| key.level < l)).collect();
        let [arriving, leaving] = [(); 2].map(|()| vec![Vec::new(); keys.len()]);
        let (numbered, uses) = (Vec::new(), Vec::new());
        let mut graph = Graph { vertices, edges, matrices: numbered, starts, arriving, leaving, uses, words, levelled };
        graph.number(matrices);
        graph.index();
        Ok(graph)
    }

    /// Builds the lists of edges by vertex and by matrix.
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

    /// Vertices by index: the output first, the input last.
    pub fn vertices(&self) -> &[Vertex] {
        &self.vertices
    }

    /// Edges by index.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// Shapes of the weight matrices: θ^k is at index k − 1.
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

    /// The index of the input vertex.
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

    /// Whether every error arrives at its vertex in one step, that is, whether identity vertices fill the skipped levels.
    pub fn is_levelled(&self) -> bool {
        self.levelled
    }

    /// The same graph without the names of its vertices and weights.
    pub(super) fn unnamed(&self) -> Graph {
        let vertices = self.vertices.iter().map(|vertex| Vertex { name: None, ..vertex.clone() }).collect();
        Graph { vertices, words: Vec::new(), ..self.clone() }
    }

    /// The words of its notation, input first.
    pub(super) fn words(&self) -> &[String] {
        &self.words
    }
}

/// The length of the longest path from each vertex of the notation to the output.
fn levels(parsed: &[ParsedVertex]) -> Vec<usize> {
    let mut levels = vec![0; parsed.len()];
    for (v, vertex) in parsed.iter().enumerate().rev() {
        for edge in &vertex.edges {
            levels[edge.from] = levels[edge.from].max(levels[v] + 1);
        }
    }
    levels
}

/// Whether an edge that spans levels passes through identity vertices.
fn needs_identities(from: usize, levelled: bool) -> bool {
    levelled && from != 0
}

/// The keys of all vertices, in the order of their indices.
fn keys(parsed: &[ParsedVertex], levels: &[usize], levelled: bool) -> Result<Vec<Key>> {
    // The lowest level at which a vertex's value still has to be held.
    let mut lowest = levels.to_vec();
    for (v, vertex) in parsed.iter().enumerate() {
        for edge in vertex.edges.iter().filter(|edge| needs_identities(edge.from, levelled)) {
            lowest[edge.from] = lowest[edge.from].min(levels[v] + 1);
        }
    }
    let total: usize = levels.iter().zip(&lowest).map(|(level, lowest)| 1 + level - lowest).sum();
    if total > MAX_VERTICES {
        return Err(Error::usage(format!(
            "a network may have at most {MAX_VERTICES} vertices; this one has {total}, the identity vertices included that carry \
             skips across levels"
        )));
    }
    let mut keys: Vec<Key> = Vec::with_capacity(total);
    for (v, (&level, &lowest)) in levels.iter().zip(&lowest).enumerate() {
        keys.extend((lowest..=level).map(|l| Key { level: l, holds: l != level, parsed: v }));
    }
    keys.sort_unstable();
    Ok(keys)
}

/// All edges in the order of their indices; `weights` is still an index in the order of the notation.
fn edges(parsed: &[ParsedVertex], levels: &[usize], keys: &[Key], levelled: bool) -> Result<Vec<Edge>> {
    let all: usize = parsed.iter().map(|vertex| vertex.edges.len()).sum();
    if all > MAX_EDGES {
        return Err(Error::usage(format!("a network may have at most {MAX_EDGES} edges; {all} given in --layers")));
    }
    // The vertex that sends this value at `level`: the nearest one at or above it.
    let at = |parsed: usize, level: usize| {
        let key = Key { level, holds: level != levels[parsed], parsed };
        keys.binary_search(&key).unwrap_or(keys.len() - 1)
    };
    let mut edges = Vec::new();
    for (to, key) in keys.iter().enumerate() {
        if key.holds {
            let from = at(key.parsed, key.level + 1);
            edges.push(Edge { from, to, maps: Vec::new(), weights: None });
            continue;
        }
        for edge in &parsed[key.parsed].edges {
            let level = if needs_identities(edge.from, levelled) { key.level + 1 } else { levels[edge.from] };
            let ParsedEdge { maps, weights, .. } = edge.clone();
            edges.push(Edge { from: at(edge.from, level), to, maps, weights });
        }
    }
    Ok(edges)
}

fn vertex(parsed: &ParsedVertex, key: Key) -> Vertex {
    let ParsedVertex { n, places, grid, ref name, .. } = *parsed;
    let name = name.as_ref().map(|name| if key.holds { format!("{name} held") } else { name.clone() });
    Vertex { n, places, grid, level: key.level, holds: key.holds, name }
}
