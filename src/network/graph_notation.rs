//! The text notation of networks that are not chains.
//!
//! ```text
//! vertex  := edge ('+' edge)* ('=' name)?                one word of the list
//! edge    := (source ':')? op ('~' name)?  |  source     op: 128, 16c3p1, 32c1s2; a source alone is an identity edge
//! source  := name  |  name '.' row
//! ```

use super::graph::{Graph, Matrix, ParsedEdge, ParsedVertex};
use super::notation::{Route, Word, input};
use super::{Map, graph::MAX_EDGES};
use crate::error::{Error, Result};
use crate::files::shown as quote;
use crate::plan::Connection;
use std::fmt;

/// Characters that occur only in the words of a graph.
const MARKS: [char; 5] = ['=', '+', '~', ':', '.'];

/// Whether a text is the notation of a graph, and not of a chain.
pub(super) fn is_graph(layers: &str) -> bool {
    layers.contains(MARKS) && layers.split(',').any(|text| Word::read(text).is_none())
}

/// The source of an edge, as written.
#[derive(Debug, Clone, PartialEq)]
struct Source {
    name: String,
    row: Option<usize>,
}

/// An edge of a sum, as written.
#[derive(Debug, Clone, PartialEq)]
struct Term {
    source: Option<Source>,
    /// `None` for an identity.
    op: Option<Word>,
    /// The name of its weights, if written.
    weights: Option<String>,
}

/// One word of the list: a sum of edges, and the name of the vertex.
#[derive(Debug, Clone, PartialEq)]
struct Vertex {
    terms: Vec<Term>,
    name: Option<String>,
}

fn refuse(text: &str, why: &str) -> Error {
    Error::usage(format!("--layers cannot be read at \"{}\": {why}", quote(text)))
}

/// Parses a name: lowercase letters and digits, a letter first, and not the notation of a pool.
fn name(text: &str, whole: &str) -> Result<String> {
    let small = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let first = text.starts_with(|c: char| c.is_ascii_lowercase());
    if !first || !text.chars().all(small) {
        let why = format!(
            "\"{}\" is not a name; a name has lowercase letters and digits, and begins with a letter",
            quote(text)
        );
        return Err(refuse(whole, &why));
    }
    if Word::read(text).is_some() {
        return Err(refuse(whole, &format!("\"{text}\" is the notation of a pool, so it cannot be a name")));
    }
    Ok(text.to_owned())
}

impl Source {
    fn read(text: &str, whole: &str) -> Result<Source> {
        let (text, row) = match text.split_once('.') {
            None => (text, None),
            Some((text, row)) => {
                let digits = !row.is_empty() && row.bytes().all(|b| b.is_ascii_digit());
                let row = digits.then(|| row.parse::<usize>().ok()).flatten();
                let why = "the point must be followed by the number of an image row, as in in.3:64";
                (text, Some(row.ok_or_else(|| refuse(whole, why))?))
            }
        };
        Ok(Source { name: name(text, whole)?, row })
    }
}

impl Term {
    fn read(text: &str, whole: &str) -> Result<Term> {
        let (source, rest) = match text.split_once(':') {
            Some((source, rest)) => (Some(Source::read(source.trim(), whole)?), rest.trim()),
            None => (None, text.trim()),
        };
        let (op, weights) = match rest.split_once('~') {
            Some((op, weights)) => (op.trim(), Some(name(weights.trim(), whole)?)),
            None => (rest, None),
        };
        match Word::read(op) {
            Some(op @ (Word::Dense(_) | Word::Convolution { .. })) => Ok(Term { source, op: Some(op), weights }),
            Some(pool @ Word::Pool { .. }) => {
                let why = format!(
                    "{pool} is a pool, which cannot be a term of a sum; write it as a separate word before the layer that reads \
                     its result, as in {pool},10"
                );
                Err(refuse(whole, &why))
            }
            None if op.is_empty() && source.is_none() && weights.is_none() => {
                Err(refuse(whole, "a size or the name of a layer is missing; expected a word like 16+a or 16=a"))
            }
            _ if source.is_none() && weights.is_none() && op.starts_with(|c: char| c.is_ascii_lowercase()) => {
                Ok(Term { source: Some(Source::read(op, whole)?), op: None, weights: None })
            }
            _ => {
                let why =
                    format!("\"{}\" is neither a size like 128, nor a convolution like 16c3p1, nor a name", quote(op));
                Err(refuse(whole, &why))
            }
        }
    }
}

impl Vertex {
    fn read(text: &str) -> Result<Vertex> {
        let (terms, named) = parted(text)?;
        unsigned(terms, text)?;
        let terms = terms.split('+').map(|term| Term::read(term, text)).collect::<Result<Vec<Term>>>()?;
        Ok(Vertex { terms, name: named })
    }
}

/// Refuses a plus sign before a size.
fn unsigned(text: &str, whole: &str) -> Result<()> {
    match text.strip_prefix('+') {
        None => Ok(()),
        Some(_) => {
            let why = "a plus sign joins the terms of a sum, as in 128+a; a size takes no sign, as in 128";
            Err(refuse(whole, why))
        }
    }
}

/// A word split into its sum and its name.
fn parted(text: &str) -> Result<(&str, Option<String>)> {
    match text.split_once('=') {
        Some((rest, named)) => Ok((rest.trim(), Some(name(named.trim(), text)?))),
        None => Ok((text, None)),
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name)?;
        self.row.map_or(Ok(()), |row| write!(out, ".{row}"))
    }
}

impl fmt::Display for Term {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            write!(out, "{source}{}", if self.op.is_some() { ":" } else { "" })?;
        }
        if let Some(op) = &self.op {
            write!(out, "{op}")?;
        }
        self.weights.as_ref().map_or(Ok(()), |weights| write!(out, "~{weights}"))
    }
}

impl fmt::Display for Vertex {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, term) in self.terms.iter().enumerate() {
            write!(out, "{}{term}", if i > 0 { "+" } else { "" })?;
        }
        self.name.as_ref().map_or(Ok(()), |name| write!(out, "={name}"))
    }
}

/// A graph under construction.
struct GraphBuilder {
    vertices: Vec<ParsedVertex>,
    /// The word of each vertex, for error messages.
    texts: Vec<String>,
    matrices: Vec<Matrix>,
    /// The names of the matrices.
    weight_names: Vec<Option<String>>,
    /// The number of edges so far.
    edges: usize,
    /// The route from the last vertex, through the pools after it.
    route: Route,
    /// The words of pools whose result no edge has read yet.
    pools: Vec<String>,
    /// The route that starts at the input.
    input: Route,
    words: Vec<String>,
}

/// Parses a graph; `levelled` adds identity vertices where edges span levels.
pub(super) fn read(layers: &str, levelled: bool) -> Result<Graph> {
    let mut texts = layers.split(',').map(str::trim);
    let mut builder = GraphBuilder::new(texts.next().unwrap_or_default())?;
    for text in texts {
        match Word::read(text) {
            Some(pool @ Word::Pool { .. }) => {
                builder.route.pool(pool)?;
                builder.words.push(pool.to_string());
                builder.pools.push(pool.to_string());
            }
            _ => builder.add(Vertex::read(text)?)?,
        }
    }
    builder.end()?;
    let GraphBuilder { vertices, matrices, words, .. } = builder;
    Graph::new(&vertices, &matrices, words, levelled)
}

impl GraphBuilder {
    fn new(text: &str) -> Result<GraphBuilder> {
        let (first, named) = parted(text)?;
        unsigned(first, text)?;
        let word = Word::read(first)
            .filter(|word| matches!(word, Word::Dense(_) | Word::Image(_)))
            .ok_or_else(|| refuse(text, "the first word is the input: a size like 784, or an image like 28x28=in"))?;
        let (n, route) = input(word)?;
        let text = named.as_ref().map_or(word.to_string(), |name| format!("{word}={name}"));
        Ok(GraphBuilder {
            vertices: vec![ParsedVertex { n, places: 1, grid: route.grid, name: named, edges: Vec::new() }],
            texts: vec![text.clone()],
            matrices: Vec::new(),
            weight_names: Vec::new(),
            edges: 0,
            input: route.clone(),
            route,
            pools: Vec::new(),
            words: vec![text],
        })
    }

    /// Adds the vertex of one word.
    fn add(&mut self, vertex: Vertex) -> Result<()> {
        let text = vertex.to_string();
        self.edges += vertex.terms.len();
        if self.edges > MAX_EDGES {
            return Err(refuse(&text, &format!("a network may have at most {MAX_EDGES} edges")));
        }
        if let Some(name) = vertex.name.as_ref().filter(|name| self.named(name).is_some()) {
            return Err(refuse(&text, &format!("another layer is already named {name}")));
        }
        let mut sum: Option<ParsedVertex> = None;
        for term in &vertex.terms {
            let (edge, shape) = self.arrive(term, &text)?;
            let sum = sum.get_or_insert_with(|| ParsedVertex { edges: Vec::new(), ..shape.clone() });
            if (sum.n, sum.places) != (shape.n, shape.places) || !same_grid(sum, &shape) {
                let why = format!(
                    "the terms of a sum must have one shape, and {} is not {}; weights can change the shape, as in a:128 or b:32c1s2",
                    shown(&shape),
                    shown(sum)
                );
                return Err(refuse(&text, &why));
            }
            sum.edges.push(edge);
        }
        if let Some(pool) = self.pools.first() {
            return Err(refuse(
                &text,
                &format!("the pool {pool} before this word is not read; a pool applies to the word after it"),
            ));
        }
        let Some(sum) = sum else { return Err(refuse(&text, "it has no size")) };
        self.route = Route { grid: sum.grid, ..Route::default() };
        self.vertices.push(ParsedVertex { name: vertex.name, ..sum });
        self.texts.push(text.clone());
        self.words.push(text);
        Ok(())
    }

    /// The index of the vertex of that name.
    fn named(&self, name: &str) -> Option<usize> {
        self.vertices.iter().position(|vertex| vertex.name.as_deref() == Some(name))
    }

    /// The edge that a term describes, and the shape of what it brings.
    fn arrive(&mut self, term: &Term, text: &str) -> Result<(ParsedEdge, ParsedVertex)> {
        let (from, mut route) = self.begin(term, text)?;
        let source = &self.vertices[from];
        let Some(op) = term.op else {
            // An identity edge sends the input as a flat vector, the order of data sets.
            let grid = source.grid.filter(|_| from != 0);
            let shape = ParsedVertex { grid, name: None, edges: Vec::new(), ..*source };
            return Ok((ParsedEdge { from, maps: Vec::new(), weights: None }, shape));
        };
        let at_a_place = source.n;
        let (units, grid) = route.reach(op)?;
        let places = grid.map_or(1, |grid| grid.places());
        let kernel = if let Word::Convolution { kernel, .. } = op { kernel as usize } else { 1 };
        let columns = route.maps.last().map_or(at_a_place, |map| map.n);
        let matrix = Matrix { rows: units / places, columns, kernel };
        let weights = self.matrix(matrix, term, text)?;
        let shape = ParsedVertex { n: matrix.rows, places, grid, name: None, edges: Vec::new() };
        Ok((ParsedEdge { from, maps: route.maps, weights: Some(weights) }, shape))
    }

    /// The source vertex of a term, and the route that starts there.
    fn begin(&mut self, term: &Term, text: &str) -> Result<(usize, Route)> {
        let Some(source) = &term.source else {
            self.pools.clear();
            return Ok((self.vertices.len() - 1, self.route.clone()));
        };
        let Some(from) = self.named(&source.name) else {
            let known: Vec<&str> = self.vertices.iter().filter_map(|vertex| vertex.name.as_deref()).collect();
            let known = if known.is_empty() {
                "none has a name yet".into()
            } else {
                format!("the names are {}", known.join(", "))
            };
            let why = format!(
                "no layer before it is named {}: {known}. A layer gets its name where it is written, as in 128={}",
                source.name, source.name
            );
            return Err(refuse(text, &why));
        };
        let route = match (source.row, from) {
            (Some(row), _) => self.row(source, row, from, term, text)?,
            (None, 0) => self.input.clone(),
            (None, _) => Route { grid: self.vertices[from].grid, ..Route::default() },
        };
        Ok((from, route))
    }

    /// The route that starts at a row of the input.
    fn row(&self, source: &Source, row: usize, from: usize, term: &Term, text: &str) -> Result<Route> {
        let grid = self.vertices[0].grid.filter(|grid| from == 0 && grid.channels == 1);
        let Some(grid) = grid else {
            return Err(refuse(
                text,
                &format!("{} has no rows, because it is not an image of one channel like 28x28=in", source.name),
            ));
        };
        if row >= grid.height {
            let last = grid.height - 1;
            return Err(refuse(text, &format!("{} has rows 0 to {last}, but no row {row}", source.name)));
        }
        if term.op.is_none() {
            return Err(refuse(text, &format!("a row must be read through weights, as in {source}:64")));
        }
        let kind = Connection::Part { start: row * grid.width };
        Ok(Route { maps: vec![Map { kind, n: grid.width, places: 1 }], ..Route::default() })
    }

    /// The index of a term's matrix, from 0.
    fn matrix(&mut self, matrix: Matrix, term: &Term, text: &str) -> Result<usize> {
        let known =
            term.weights.as_ref().and_then(|name| self.weight_names.iter().position(|c| c.as_ref() == Some(name)));
        if let Some(known) = known {
            let first = self.matrices[known];
            if first != matrix {
                let why = format!(
                    "shared weights must have one shape, and ~{} is {} × {} here, but {} × {} before",
                    term.weights.as_deref().unwrap_or_default(),
                    matrix.rows,
                    matrix.columns,
                    first.rows,
                    first.columns
                );
                return Err(refuse(text, &why));
            }
            return Ok(known);
        }
        self.matrices.push(matrix);
        self.weight_names.push(term.weights.clone());
        Ok(self.matrices.len() - 1)
    }

    /// Checks the graph as a whole.
    fn end(&self) -> Result<()> {
        let last = self.vertices.len() - 1;
        if last == 0 {
            return Err(Error::usage("a network needs at least an input and an output layer, as in --layers 784,10"));
        }
        if let Some(pool) = self.pools.first() {
            return Err(refuse(pool, "the last word of --layers is the output, which cannot be a pool"));
        }
        if self.vertices[last].places > 1 || self.vertices[last].grid.is_some() {
            return Err(refuse(&self.texts[last], "the last word of --layers is the number of outputs, as in 10"));
        }
        let used = |v: usize| self.vertices.iter().any(|vertex| vertex.edges.iter().any(|edge| edge.from == v));
        if let Some(unread) = (0..last).find(|v| !used(*v)) {
            let why =
                "nothing reads it: a network has one output, the last word, and every other layer must lead to it";
            return Err(refuse(&self.texts[unread], why));
        }
        if self.matrices.is_empty() {
            return Err(Error::usage(
                "a network needs weights, but --layers has only skips; add a size, as in 784=in,10+in",
            ));
        }
        Ok(())
    }
}

/// Whether two shapes with the same number of places also have the same height and width.
fn same_grid(a: &ParsedVertex, b: &ParsedVertex) -> bool {
    let side = |shape: &ParsedVertex| shape.grid.map(|grid| (grid.height, grid.width));
    a.places == 1 || side(a) == side(b)
}

fn shown(shape: &ParsedVertex) -> String {
    match shape.grid {
        Some(grid) => format!("{} channels on {} × {}", grid.channels, grid.height, grid.width),
        None => format!("{} units", shape.n),
    }
}
