//! A network's shape, and its weights θ.
//!
//! Layers are numbered as in the paper: **0 is the output, lmax the input**, and θ^{l+1} feeds layer l.
//! A person writes a network input first (`784,32,32,10`); [`Network::parse`] reads that. One with convolutions is written
//! in the same way (`1x28x28,6c5p2,a2,16c5,a2,120,84,10`):
//!
//! | written | meaning |
//! | --- | --- |
//! | `784` | a layer of so many units, each fed by all of the layer before |
//! | `3x32x32`, `28x28` | the input as an image: channels (1 where there are two numbers), height, width |
//! | `128c3p1`, `64c5s2` | a convolution: channels, `c` kernel, `s` stride (1), `p` padding (0) |
//! | `m2`, `a2`, `m3s2` | pooling of f of the layer before: the maximum, the mean; of 2 × 2, `s` stride (the same) |
//!
//! A network need not be a chain ([`graph`]). Then a word may name what it makes, and add up what arrives from several layers
//! (`784,128=a,128,128+a,10`):
//!
//! | written | meaning |
//! | --- | --- |
//! | `128=a` | the layer is called a: small letters and digits, a letter first |
//! | `128+a` | to what the weights bring, f of a is added as it is: a skip |
//! | `128+a:128`, `b:32c1s2` | weights that begin at a, at b |
//! | `in.3:64` | weights that begin at row 3 of the image called in |
//! | `64~w` | the weights are called w: all that are called so are the same |

pub mod graph;
mod graph_notation;
mod layers_file;
mod notation;
mod weights_file;

use crate::error::{Error, Result};
use crate::plan::activation::Activation;
use crate::plan::window::Grid;
use crate::plan::{Connection, Interface};
pub use crate::plan::{MAX_WIDTH, Pixels, Weights};
use crate::random::{Random, Stream};
use graph::Graph;
pub use layers_file::{parse_layers, read_layers};
use ndarray::{Array1, Array2, Axis};
pub(crate) use weights_file::write_with_links;
pub use weights_file::{
    parse_weights, read_pixels, read_targets, read_weights, read_weights_for, write_numbers, write_weights,
};

/// The most layers of weights a network may have.
pub const MAX_DEPTH: usize = 256;

/// The shape of a network: its layers, its activation, and whether it has biases.
///
/// The output is linear and the energy is F = ½ Σ ε² (Eq. 6). f is not applied to the input layer
/// unless `input_activation` is set: s_in is then itself f(x^{lmax}), as in both authors' codes.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// n^l for l = 0 ..= lmax: output first.
    sizes: Vec<usize>,
    /// What the units of each layer are laid out on, where that was said.
    grids: Vec<Option<Grid>>,
    /// What carries f(x^{l+1}) to where θ^{l+1} begins, for l = 0 .. lmax: nothing where weights run from layer to layer.
    maps: Vec<Vec<Map>>,
    /// The vertices and edges, where it is no chain; then the layers above are its levels.
    graph: Option<Box<Graph>>,
    /// f of Eq. (1).
    pub activation: Activation,
    /// Whether every layer but the input has biases.
    pub bias: bool,
    /// Whether f is also applied to the input.
    pub input_activation: bool,
    /// What pixels p are scaled by; `None` is p / 255.
    pub pixels: Option<Pixels>,
    /// What the output is held to by a label: at the units of other classes, and at its own; `None` is 0 and 1.
    pub targets: Option<[f32; 2]>,
}

/// A fixed map on the way from a layer to the weights of the next, and the units that it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Map {
    /// Which it is.
    pub kind: Connection,
    /// Units at a place.
    pub n: usize,
    /// Places.
    pub places: usize,
}

impl Network {
    /// A network of these layer sizes, **input first**, with sigmoid activation and no biases.
    ///
    /// # Errors
    /// [`Error::Usage`] when there are fewer than two layers or a size is zero or absurd.
    pub fn new(input_first: &[usize]) -> Result<Self> {
        if input_first.len() < 2 {
            return Err(Error::usage(format!(
                "a network needs at least an input and an output layer, as in --layers 784,10; {} given",
                input_first.len()
            )));
        }
        if input_first.len() - 1 > MAX_DEPTH {
            return Err(Error::usage(format!(
                "a network may have at most {MAX_DEPTH} layers of weights; {} given",
                input_first.len() - 1
            )));
        }
        if let Some(&bad) = input_first.iter().find(|&&n| n == 0 || n > MAX_WIDTH) {
            return Err(Error::usage(format!("a layer has 1 to {MAX_WIDTH} units; {bad} given in --layers")));
        }
        let sizes: Vec<usize> = input_first.iter().rev().copied().collect();
        Ok(Network {
            grids: vec![None; sizes.len()],
            maps: vec![Vec::new(); sizes.len() - 1],
            sizes,
            graph: None,
            activation: Activation::Sigmoid,
            bias: false,
            input_activation: false,
            pixels: None,
            targets: None,
        })
    }

    /// A network of a graph, with sigmoid activation and no biases. Its layers are the levels.
    fn of(graph: Graph) -> Self {
        let lmax = graph.lmax();
        let units = |v: usize| graph.vertices()[v].n.saturating_mul(graph.vertices()[v].places);
        let mut grids = vec![None; lmax + 1];
        grids[lmax] = graph.vertices()[graph.input()].grid;
        Network {
            sizes: (0..=lmax).map(|l| graph.level(l).map(units).fold(0, usize::saturating_add)).collect(),
            grids,
            maps: vec![Vec::new(); lmax],
            graph: Some(Box::new(graph)),
            activation: Activation::Sigmoid,
            bias: false,
            input_activation: false,
            pixels: None,
            targets: None,
        }
    }

    /// The same network with another activation.
    pub fn with_activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    /// The same network with or without biases.
    pub fn with_bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// What the output is held to: at the units of other classes than the label's, and at its own.
    pub fn held_to(&self) -> [f32; 2] {
        self.targets.unwrap_or([0.0, 1.0])
    }

    /// The same network without the identity vertices that level it, so that edges skip levels: Z-IL is then not BP. A chain
    /// stays what it is. For experiments: no file has such a network.
    ///
    /// # Errors
    /// Those of [`Network::parse`].
    pub fn unlevelled(&self) -> Result<Self> {
        if self.graph.is_none() {
            return Ok(self.clone());
        }
        let drawn = Network::of(graph_notation::read(&self.notation().join(","), false)?);
        let Network { sizes, grids, maps, graph, .. } = drawn;
        Ok(Network { sizes, grids, maps, graph, ..self.clone() })
    }

    /// Whether the other network is this one, whatever its layers are called.
    pub(crate) fn is_alike(&self, other: &Network) -> bool {
        let unnamed = |network: &Network| {
            let graph = network.graph().map(|graph| Box::new(graph.unnamed()));
            Network { graph, ..network.clone() }
        };
        unnamed(self) == unnamed(other)
    }

    /// Its vertices and edges, where it is no chain.
    pub fn graph(&self) -> Option<&Graph> {
        self.graph.as_deref()
    }

    /// The number of the input layer; of a graph, the level of the input.
    pub fn lmax(&self) -> usize {
        self.sizes.len() - 1
    }

    /// The number of weight matrices: of a chain lmax.
    pub fn matrices(&self) -> usize {
        self.graph().map_or(self.lmax(), |graph| graph.matrices().len())
    }

    /// What a moment of a plan has to do with, by which plans grow: layers of weights and fixed maps; of a graph, vertices, edges
    /// and the maps on them.
    pub(crate) fn parts(&self) -> usize {
        let of_graph = |graph: &Graph| {
            let maps: usize = graph.edges().iter().map(|edge| 1 + edge.maps.len()).sum();
            graph.vertices().len() + maps
        };
        self.graph().map_or_else(|| self.lmax() + self.maps.iter().map(Vec::len).sum::<usize>(), of_graph)
    }

    /// Layers that predict something, the output among them, which [`crate::Plan`]s number as populations: of a chain lmax, of a
    /// graph all vertices but the input.
    pub fn predicting(&self) -> usize {
        self.graph().map_or(self.lmax(), Graph::input)
    }

    /// What a data set has to fit.
    pub fn interface(&self) -> Interface<'_> {
        Interface {
            network: self.to_string(),
            inputs: self.inputs(),
            form: self.grid(self.lmax()),
            scale: self.pixels.as_ref(),
            outputs: self.outputs(),
        }
    }

    /// n^l, the number of units of layer `l` (0 is the output); on a grid, of all its places; of a graph, of all vertices of the
    /// level.
    pub fn n(&self, l: usize) -> usize {
        self.sizes[l]
    }

    /// Units of the input layer.
    pub fn inputs(&self) -> usize {
        self.sizes[self.lmax()]
    }

    /// Units of the output layer.
    pub fn outputs(&self) -> usize {
        self.sizes[0]
    }

    /// What the units of layer `l` are laid out on, where that was said: always for a convolution.
    pub fn grid(&self, l: usize) -> Option<Grid> {
        self.grids[l]
    }

    /// Places of layer `l` that share weights; 1 for a layer that is no convolution.
    pub fn places(&self, l: usize) -> usize {
        // An image is one place: every pixel has a weight of its own.
        self.grids[l].filter(|_| l < self.lmax()).map_or(1, Grid::places)
    }

    /// What carries f(x^l) to where θ^l begins, for l from 1: nothing where weights run from layer to layer.
    pub fn maps(&self, l: usize) -> &[Map] {
        &self.maps[l - 1]
    }

    /// Whether it has convolutions or pools.
    pub fn convolves(&self) -> bool {
        if let Some(graph) = self.graph() {
            let parts = |map: &Map| matches!(map.kind, Connection::Part { .. });
            return graph.vertices().iter().any(|v| v.places > 1)
                || graph.edges().iter().any(|edge| !edge.maps.iter().all(parts));
        }
        (0..self.lmax()).any(|l| self.places(l) > 1 || !self.maps[l].is_empty())
    }

    /// Rows and columns of θ^l, for l from 1 to [`Network::matrices`]: units of layer l − 1 (of a convolution, channels), and units
    /// that feed each of them (kernel² · channels).
    pub fn shape(&self, l: usize) -> (usize, usize) {
        if let Some(graph) = self.graph() {
            let matrix = graph.matrices()[l - 1];
            return (matrix.rows, matrix.columns);
        }
        let at_a_place = |l: usize| self.sizes[l] / self.places(l);
        (at_a_place(l - 1), self.maps[l - 1].last().map_or(at_a_place(l), |map| map.n))
    }

    /// Units that a unit feeds through θ^l, by which weights are scaled: of a convolution kernel² · channels.
    pub(crate) fn fan_out(&self, l: usize) -> usize {
        let of_graph = self.graph().map(|graph| graph.matrices()[l - 1].kernel);
        let kernel = of_graph.unwrap_or_else(|| match self.maps[l - 1].last().map(|map| map.kind) {
            Some(Connection::Patches(window)) => window.kernel as usize,
            _ => 1,
        });
        kernel * kernel * self.shape(l).0
    }

    /// The layer sizes as a person writes them, input first.
    pub fn input_first(&self) -> Vec<usize> {
        self.sizes.iter().rev().copied().collect()
    }

    /// Parameters: Σ n^l n^{l+1}, and Σ n^l with biases; of a convolution those of one place.
    pub fn parameters(&self) -> u64 {
        let shapes = || (1..=self.matrices()).map(|l| self.shape(l));
        let biases: u64 = if self.bias { shapes().map(|(to, _)| to as u64).sum() } else { 0 };
        shapes().map(|(to, from)| to as u64 * from as u64).sum::<u64>() + biases
    }

    /// The activation by which layer `l + 1` drives layer `l`: f, or the identity at the input.
    pub fn drive(&self, upper: usize) -> Activation {
        if upper == self.lmax() && !self.input_activation { Activation::Identity } else { self.activation }
    }
}

impl<'a> From<&'a Network> for Interface<'a> {
    fn from(network: &'a Network) -> Self {
        network.interface()
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.notation().join("-"))
    }
}

/// How initial weights are drawn. Biases are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// Uniform in ±1/√(fan-in).
    #[default]
    Uniform,
    /// Uniform in ±√(6 / (fan-in + fan-out)) (Glorot & Bengio 2010).
    Xavier,
    /// Normal, variance 2 / fan-in (He et al. 2015).
    He,
    /// Rows, or columns where they are fewer, of length 1 and at right angles (Saxe, McClelland & Ganguli 2014).
    Orthogonal,
    /// Normal, variance 1.
    Normal,
}

impl Init {
    /// Every way.
    pub const ALL: [Init; 5] = [Init::Uniform, Init::Xavier, Init::He, Init::Orthogonal, Init::Normal];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Init::Uniform => "uniform",
            Init::Xavier => "xavier",
            Init::He => "he",
            Init::Orthogonal => "orthogonal",
            Init::Normal => "normal",
        }
    }

    /// The way of that name.
    pub fn from_name(name: &str) -> Option<Init> {
        Init::ALL.into_iter().find(|init| init.name() == name)
    }

    /// Fills θ, whose rows have fan-in numbers.
    fn fill(self, theta: &mut Array2<f32>, fan_out: usize, random: &mut Random) {
        let (to, from) = theta.dim();
        let uniform = |bound: f64, random: &mut Random| random.range(-bound, bound) as f32;
        match self {
            Init::Uniform => theta.mapv_inplace(|_| uniform(1.0 / (from as f64).sqrt(), random)),
            Init::Xavier => theta.mapv_inplace(|_| uniform((6.0 / (fan_out + from) as f64).sqrt(), random)),
            Init::He => theta.mapv_inplace(|_| ((2.0 / from as f64).sqrt() * random.normal()) as f32),
            Init::Normal => theta.mapv_inplace(|_| random.normal() as f32),
            Init::Orthogonal => {
                let wide = to <= from;
                let shape = if wide { (to, from) } else { (from, to) };
                let rows = orthonormal(Array2::from_shape_simple_fn(shape, || random.normal()));
                theta.zip_mut_with(&if wide { rows.view() } else { rows.t() }, |to, from| *to = *from as f32);
            }
        }
    }
}

/// Rows of length 1 at right angles that span what the given ones span (Gram-Schmidt, twice, a block of rows at a time).
fn orthonormal(mut rows: Array2<f64>) -> Array2<f64> {
    const BLOCK: usize = 32;
    let n = rows.nrows();
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        let (done, mut rest) = rows.view_mut().split_at(Axis(0), start);
        let mut block = rest.slice_mut(ndarray::s![..end - start, ..]);
        for _ in 0..2 {
            let along = block.dot(&done.t());
            block -= &along.dot(&done);
            for i in 0..end - start {
                let (before, mut row) = block.view_mut().split_at(Axis(0), i);
                let mut row = row.row_mut(0);
                let along = before.dot(&row);
                row -= &along.dot(&before);
                let length = row.dot(&row).sqrt();
                row /= length;
            }
        }
    }
    rows
}

impl Weights {
    /// Initial weights: θ^l_{ij} uniform in ±1/√n^l (n^l is the fan-in; of a convolution kernel² · channels), biases zero, keyed by (seed, l).
    pub fn init(network: &Network, seed: u64) -> Self {
        Self::drawn(network, seed, Init::Uniform)
    }

    /// Initial weights, keyed by (seed, l).
    pub fn drawn(network: &Network, seed: u64, init: Init) -> Self {
        let mut weights = Self::zeros(network);
        for (l, theta) in (1..).zip(&mut weights.theta) {
            init.fill(theta, network.fan_out(l), &mut Random::new(seed, Stream::Weights, l as u64));
        }
        weights
    }

    /// All-zero weights of the network's shapes.
    pub fn zeros(network: &Network) -> Self {
        let all = 1..=network.matrices();
        let theta = all.clone().map(|l| Array2::zeros(network.shape(l))).collect();
        let bias = if network.bias { all.map(|l| Array1::zeros(network.shape(l).0)).collect() } else { Vec::new() };
        Weights { theta, bias }
    }

    /// Whether every matrix and bias has the network's shape.
    pub fn fits(&self, network: &Network) -> bool {
        let all = network.matrices();
        self.theta.len() == all
            && self.bias.len() == if network.bias { all } else { 0 }
            && (1..=all).all(|l| self.theta[l - 1].dim() == network.shape(l))
            && self.bias.iter().enumerate().all(|(i, b)| b.len() == network.shape(i + 1).0)
    }
}
