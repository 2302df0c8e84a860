//! Networks that are no chain, as people write them.
//!
//! ```text
//! vertex  := arrival ('+' arrival)* ('=' name)?           a word of the list
//! arrival := (source ':')? op ('~' name)?  |  source      op: 128, 16c3p1, 32c1s2; a source alone is an identity
//! source  := name  |  name '.' row
//! ```

use super::graph::{Arrival, Drawn, Graph, Matrix};
use super::notation::{Way, Word, input};
use super::{Map, graph::MAX_EDGES};
use crate::error::{Error, Result};
use crate::files::shown as quote;
use crate::plan::Connection;
use std::fmt;

/// What only a network that is no chain has in its words.
const MARKS: [char; 5] = ['=', '+', '~', ':', '.'];

/// Whether a text is written as a graph.
pub(super) fn is_drawn(layers: &str) -> bool {
    layers.contains(MARKS) && layers.split(',').any(|text| Word::read(text).is_none())
}

/// Where weights or an identity begin, as written.
#[derive(Debug, Clone, PartialEq)]
struct Source {
    name: String,
    row: Option<usize>,
}

/// An arrival as written.
#[derive(Debug, Clone, PartialEq)]
struct Term {
    source: Option<Source>,
    /// Nothing for an identity.
    op: Option<Word>,
    /// What its weights are called.
    weights: Option<String>,
}

/// A word of the list.
#[derive(Debug, Clone, PartialEq)]
struct Vertex {
    terms: Vec<Term>,
    name: Option<String>,
}

fn refuse(text: &str, why: &str) -> Error {
    Error::usage(format!("--layers cannot be read at \"{}\": {why}", quote(text)))
}

/// A name: small letters and digits, a letter first, and no pool.
fn name(text: &str, whole: &str) -> Result<String> {
    let small = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let first = text.starts_with(|c: char| c.is_ascii_lowercase());
    if !first || !text.chars().all(small) {
        let why =
            format!("\"{}\" is no name; a name has small letters and digits, and begins with a letter", quote(text));
        return Err(refuse(whole, &why));
    }
    if Word::read(text).is_some() {
        return Err(refuse(whole, &format!("\"{text}\" is a pool, and cannot be a name too")));
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
                let why = "after the point stands the number of a row of the image, as in in.3:64";
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
                    "{pool} is a pool, and nothing that is added up; it is a word of its own, before the layer that sees what it \
                     leaves, as in {pool},10"
                );
                Err(refuse(whole, &why))
            }
            None if op.is_empty() && source.is_none() && weights.is_none() => {
                Err(refuse(whole, "there is nothing where a size or the name of a layer should be, as in 16+a or 16=a"))
            }
            _ if source.is_none() && weights.is_none() && op.starts_with(|c: char| c.is_ascii_lowercase()) => {
                Ok(Term { source: Some(Source::read(op, whole)?), op: None, weights: None })
            }
            _ => {
                let why =
                    format!("\"{}\" is not a size like 128, nor a convolution like 16c3p1, nor a name", quote(op));
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

/// Refuses a sign before a size.
fn unsigned(text: &str, whole: &str) -> Result<()> {
    match text.strip_prefix('+') {
        None => Ok(()),
        Some(_) => {
            let why = "a plus sign stands between what is added up, as in 128+a; a size has none before it, as in 128";
            Err(refuse(whole, why))
        }
    }
}

/// A word without its name, and the name.
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

/// A graph in the making.
struct Drawing {
    vertices: Vec<Drawn>,
    /// The word of each vertex.
    texts: Vec<String>,
    matrices: Vec<Matrix>,
    /// What the matrices are called.
    called: Vec<Option<String>>,
    /// Edges so far.
    edges: usize,
    /// On from the last vertex, through pools.
    way: Way,
    /// The words of the pools that no arrival has gone through.
    pools: Vec<String>,
    /// The way that begins at the input.
    input: Way,
    words: Vec<String>,
}

/// Reads a graph, with identity vertices where edges span levels or without.
pub(super) fn read(layers: &str, levelled: bool) -> Result<Graph> {
    let mut texts = layers.split(',').map(str::trim);
    let mut drawing = Drawing::new(texts.next().unwrap_or_default())?;
    for text in texts {
        match Word::read(text) {
            Some(pool @ Word::Pool { .. }) => {
                drawing.way.pool(pool)?;
                drawing.words.push(pool.to_string());
                drawing.pools.push(pool.to_string());
            }
            _ => drawing.add(Vertex::read(text)?)?,
        }
    }
    drawing.end()?;
    let Drawing { vertices, matrices, words, .. } = drawing;
    Graph::new(&vertices, &matrices, words, levelled)
}

impl Drawing {
    fn new(text: &str) -> Result<Drawing> {
        let (first, named) = parted(text)?;
        unsigned(first, text)?;
        let word = Word::read(first)
            .filter(|word| matches!(word, Word::Dense(_) | Word::Image(_)))
            .ok_or_else(|| refuse(text, "the first word is the input: a size like 784, or an image like 28x28=in"))?;
        let (n, way) = input(word)?;
        let text = named.as_ref().map_or(word.to_string(), |name| format!("{word}={name}"));
        Ok(Drawing {
            vertices: vec![Drawn { n, places: 1, grid: way.grid, name: named, arrivals: Vec::new() }],
            texts: vec![text.clone()],
            matrices: Vec::new(),
            called: Vec::new(),
            edges: 0,
            input: way.clone(),
            way,
            pools: Vec::new(),
            words: vec![text],
        })
    }

    /// Adds a vertex.
    fn add(&mut self, vertex: Vertex) -> Result<()> {
        let text = vertex.to_string();
        self.edges += vertex.terms.len();
        if self.edges > MAX_EDGES {
            return Err(refuse(&text, &format!("a network may have at most {MAX_EDGES} edges")));
        }
        if let Some(name) = vertex.name.as_ref().filter(|name| self.named(name).is_some()) {
            return Err(refuse(&text, &format!("{name} is the name of another layer already")));
        }
        let mut made: Option<Drawn> = None;
        for term in &vertex.terms {
            let (arrival, shape) = self.arrive(term, &text)?;
            let made = made.get_or_insert_with(|| Drawn { arrivals: Vec::new(), ..shape.clone() });
            if (made.n, made.places) != (shape.n, shape.places) || !same_grid(made, &shape) {
                let why = format!(
                    "what is added up has one shape, and {} is not {}; weights make it so, as in a:128 or b:32c1s2",
                    shown(&shape),
                    shown(made)
                );
                return Err(refuse(&text, &why));
            }
            made.arrivals.push(arrival);
        }
        if let Some(pool) = self.pools.first() {
            return Err(refuse(
                &text,
                &format!("the pool {pool} before it leads nowhere; it stands for the next layer"),
            ));
        }
        let Some(made) = made else { return Err(refuse(&text, "it has no size")) };
        self.way = Way { grid: made.grid, ..Way::default() };
        self.vertices.push(Drawn { name: vertex.name, ..made });
        self.texts.push(text.clone());
        self.words.push(text);
        Ok(())
    }

    /// The number of the vertex of that name.
    fn named(&self, name: &str) -> Option<usize> {
        self.vertices.iter().position(|vertex| vertex.name.as_deref() == Some(name))
    }

    /// What arrives by a term, and the shape of what it brings.
    fn arrive(&mut self, term: &Term, text: &str) -> Result<(Arrival, Drawn)> {
        let (from, mut way) = self.begin(term, text)?;
        let source = &self.vertices[from];
        let Some(op) = term.op else {
            // An image is as flat as a data set has it.
            let grid = source.grid.filter(|_| from != 0);
            let shape = Drawn { grid, name: None, arrivals: Vec::new(), ..*source };
            return Ok((Arrival { from, maps: Vec::new(), weights: None }, shape));
        };
        let at_a_place = source.n;
        let (units, grid) = way.reach(op)?;
        let places = grid.map_or(1, |grid| grid.places());
        let kernel = if let Word::Convolution { kernel, .. } = op { kernel as usize } else { 1 };
        let columns = way.maps.last().map_or(at_a_place, |map| map.n);
        let matrix = Matrix { rows: units / places, columns, kernel };
        let weights = self.matrix(matrix, term, text)?;
        let shape = Drawn { n: matrix.rows, places, grid, name: None, arrivals: Vec::new() };
        Ok((Arrival { from, maps: way.maps, weights: Some(weights) }, shape))
    }

    /// The vertex at which a term begins, and the way from there.
    fn begin(&mut self, term: &Term, text: &str) -> Result<(usize, Way)> {
        let Some(source) = &term.source else {
            self.pools.clear();
            return Ok((self.vertices.len() - 1, self.way.clone()));
        };
        let Some(from) = self.named(&source.name) else {
            let known: Vec<&str> = self.vertices.iter().filter_map(|vertex| vertex.name.as_deref()).collect();
            let known =
                if known.is_empty() { "none has a name yet".into() } else { format!("there are {}", known.join(", ")) };
            let why = format!(
                "no layer before it is called {}: {known}. A layer is named where it is written, as in 128={}",
                source.name, source.name
            );
            return Err(refuse(text, &why));
        };
        let way = match (source.row, from) {
            (Some(row), _) => self.row(source, row, from, term, text)?,
            (None, 0) => self.input.clone(),
            (None, _) => Way { grid: self.vertices[from].grid, ..Way::default() },
        };
        Ok((from, way))
    }

    /// The way that begins at a row of the input.
    fn row(&self, source: &Source, row: usize, from: usize, term: &Term, text: &str) -> Result<Way> {
        let grid = self.vertices[0].grid.filter(|grid| from == 0 && grid.channels == 1);
        let Some(grid) = grid else {
            return Err(refuse(
                text,
                &format!("{} is no image of one channel, as 28x28=in is, and has no rows", source.name),
            ));
        };
        if row >= grid.height {
            let last = grid.height - 1;
            return Err(refuse(text, &format!("{} has rows 0 to {last}, and no row {row}", source.name)));
        }
        if term.op.is_none() {
            return Err(refuse(text, &format!("a row is read through weights, as in {source}:64")));
        }
        let kind = Connection::Part { start: row * grid.width };
        Ok(Way { maps: vec![Map { kind, n: grid.width, places: 1 }], ..Way::default() })
    }

    /// The number of the matrix of a term, from 0.
    fn matrix(&mut self, matrix: Matrix, term: &Term, text: &str) -> Result<usize> {
        let known = term.weights.as_ref().and_then(|name| self.called.iter().position(|c| c.as_ref() == Some(name)));
        if let Some(known) = known {
            let first = self.matrices[known];
            if first != matrix {
                let why = format!(
                    "weights that are shared have one shape, and ~{} is {} of {} here, {} of {} before",
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
        self.called.push(term.weights.clone());
        Ok(self.matrices.len() - 1)
    }

    /// Refuses what is no network.
    fn end(&self) -> Result<()> {
        let last = self.vertices.len() - 1;
        if last == 0 {
            return Err(Error::usage("a network needs at least an input and an output layer, as in --layers 784,10"));
        }
        if let Some(pool) = self.pools.first() {
            return Err(refuse(pool, "the last word of --layers is the output, and a pool is none"));
        }
        if self.vertices[last].places > 1 || self.vertices[last].grid.is_some() {
            return Err(refuse(&self.texts[last], "the last word of --layers is the number of outputs, as in 10"));
        }
        let used = |v: usize| self.vertices.iter().any(|vertex| vertex.arrivals.iter().any(|a| a.from == v));
        if let Some(lost) = (0..last).find(|v| !used(*v)) {
            let why = "nothing comes of it: a network has one output, the last word, and all else leads there";
            return Err(refuse(&self.texts[lost], why));
        }
        if self.matrices.is_empty() {
            return Err(Error::usage(
                "a network needs weights, and --layers has skips alone; add a size, as in 784=in,10+in",
            ));
        }
        Ok(())
    }
}

/// Whether two shapes of as many places have them laid out alike, as far as that was said.
fn same_grid(a: &Drawn, b: &Drawn) -> bool {
    let side = |drawn: &Drawn| drawn.grid.map(|grid| (grid.height, grid.width));
    a.places == 1 || side(a) == side(b)
}

fn shown(drawn: &Drawn) -> String {
    match drawn.grid {
        Some(grid) => format!("{} channels on {} × {}", grid.channels, grid.height, grid.width),
        None => format!("{} units", drawn.n),
    }
}
