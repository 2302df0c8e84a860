//! The shape of a network, and its weights θ.
//!
//! Layers are numbered as in the paper: **0 is the output, lmax the input**, and θ^{l+1} feeds layer l.
//! The command line and the files list layers input first (`784,32,32,10`); [`Network::parse`] reads that notation.
//! Convolutional networks use the same notation (`1x28x28,6c5p2,a2,16c5,a2,120,84,10`):
//!
//! | written | meaning |
//! | --- | --- |
//! | `784` | a fully connected layer of 784 units |
//! | `3x32x32`, `28x28` | the input as an image: channels (1 if omitted), height, width |
//! | `128c3p1`, `64c5s2` | a convolution: output channels, `c` kernel size, `s` stride (default 1), `p` padding (default 0) |
//! | `m2`, `a2`, `m3s2` | max pooling or average pooling of f of the layer before: window size, `s` stride (default: the window size) |
//!
//! A network can also be a directed acyclic graph ([`graph`]). A word can then name its layer and list several source
//! layers, whose contributions are summed (`784,128=a,128,128+a,10`):
//!
//! | written | meaning |
//! | --- | --- |
//! | `128=a` | the layer's name is a: lowercase letters and digits, starting with a letter |
//! | `128+a` | a skip connection: f of layer a is added, unweighted, to the weighted input of the layer |
//! | `128+a:128`, `b:32c1s2` | weights whose source is layer a, or layer b |
//! | `in.3:64` | weights whose source is row 3 of the image named in |
//! | `64~w` | the weights' name is w: edges with the same weight name share one weight matrix |

pub mod graph;
mod graph_notation;
mod layers_file;
mod notation;
mod weights_file;

use crate::error::{Error, Result};
use crate::named::Named;
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

/// The maximum number of weight layers.
pub const MAX_DEPTH: usize = 256;

/// The shape of a network: layers, activations, biases, and the scaling of inputs and targets.
///
/// The output is linear, and the energy is F = ½ Σ ε² (Eq. 6). f is not applied to the input layer unless
/// `input_activation` is set. Then s_in = f(x^{lmax}), as in both published implementations.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// n^l for l = 0 ..= lmax: output first.
    sizes: Vec<usize>,
    /// The grid of each layer's units: convolutions and an image input have one.
    grids: Vec<Option<Grid>>,
    /// The fixed maps between f(x^{l+1}) and the source of θ^{l+1}, for l = 0 .. lmax; empty where θ^{l+1} reads layer l+1 itself.
    maps: Vec<Vec<Map>>,
    /// The vertices and edges, if the network is not a chain. The fields `sizes`, `grids` and `maps` then describe the
    /// levels of the graph.
    graph: Option<Box<Graph>>,
    /// f of Eq. (1).
    pub activation: Activation,
    /// Whether every layer but the input has biases.
    pub bias: bool,
    /// Whether f is also applied to the input.
    pub input_activation: bool,
    /// The scaling of pixels p; `None` is p / 255.
    pub pixels: Option<Pixels>,
    /// The targets of the output units: off for the other classes, on for the class of the label. `None` is 0 and 1.
    pub targets: Option<[f32; 2]>,
}

/// A fixed map between a layer and the weights of the next, and the shape of its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Map {
    /// The kind of map.
    pub kind: Connection,
    /// Units per position of the result: the channels.
    pub n: usize,
    /// Positions of the result.
    pub places: usize,
}

impl Network {
    /// A network of these layer sizes, **input first**, with sigmoid activation and no biases.
    ///
    /// # Errors
    /// [`Error::Usage`] for fewer than two layers, more than [`MAX_DEPTH`] layers of weights, or a size that is zero or above
    /// [`MAX_WIDTH`].
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

    /// The network of a graph, with sigmoid activation and no biases. Its layers are the graph's levels.
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

    /// The targets of the output units: off for the other classes, on for the class of the label.
    pub fn held_to(&self) -> [f32; 2] {
        self.targets.unwrap_or([0.0, 1.0])
    }

    /// The same network without the identity vertices, so that edges skip levels and Z-IL differs from BP. A chain
    /// is returned unchanged. This is for experiments: no file stores such a network.
    ///
    /// # Errors
    /// Those of [`Network::parse`].
    pub fn unlevelled(&self) -> Result<Self> {
        if self.graph.is_none() {
            return Ok(self.clone());
        }
        let unlevelled = Network::of(graph_notation::read(&self.notation().join(","), false)?);
        let Network { sizes, grids, maps, graph, .. } = unlevelled;
        Ok(Network { sizes, grids, maps, graph, ..self.clone() })
    }

    /// Whether the two networks are equal up to the names of their layers and weights.
    pub(crate) fn is_alike(&self, other: &Network) -> bool {
        let unnamed = |network: &Network| {
            let graph = network.graph().map(|graph| Box::new(graph.unnamed()));
            Network { graph, ..network.clone() }
        };
        unnamed(self) == unnamed(other)
    }

    /// The vertices and edges, if the network is not a chain.
    pub fn graph(&self) -> Option<&Graph> {
        self.graph.as_deref()
    }

    /// The index of the input layer; for a graph, the level of the input.
    pub fn lmax(&self) -> usize {
        self.sizes.len() - 1
    }

    /// The number of weight matrices; for a chain this is lmax.
    pub fn matrices(&self) -> usize {
        self.graph().map_or(self.lmax(), |graph| graph.matrices().len())
    }

    /// The number of parts on which the ops of one time t work, which bounds the length of a plan. For a chain these
    /// are weight matrices and fixed maps, for a graph vertices and the fixed maps of edges.
    pub(crate) fn parts(&self) -> usize {
        let of_graph = |graph: &Graph| {
            let maps: usize = graph.edges().iter().map(|edge| 1 + edge.maps.len()).sum();
            graph.vertices().len() + maps
        };
        self.graph().map_or_else(|| self.lmax() + self.maps.iter().map(Vec::len).sum::<usize>(), of_graph)
    }

    /// The number of layers that receive a prediction, the output included. There are lmax in a chain; in a graph they
    /// are all vertices but the input. They are the first populations of a [`crate::Plan`].
    pub fn predicting(&self) -> usize {
        self.graph().map_or(self.lmax(), Graph::input)
    }

    /// The properties of the network that a data set must match.
    pub fn interface(&self) -> Interface<'_> {
        Interface {
            network: self.to_string(),
            inputs: self.inputs(),
            form: self.grid(self.lmax()),
            scale: self.pixels.as_ref(),
            outputs: self.outputs(),
        }
    }

    /// n^l, the number of units of layer `l` (0 is the output): channels × positions for a convolution; for a graph,
    /// the sum over the vertices of the level.
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

    /// The grid of layer `l`, if it has one: every convolution has.
    pub fn grid(&self, l: usize) -> Option<Grid> {
        self.grids[l]
    }

    /// Number of positions of layer `l` that share weights; 1 unless the layer is a convolution.
    pub fn places(&self, l: usize) -> usize {
        // The input image counts as one position with all its pixels as units.
        self.grids[l].filter(|_| l < self.lmax()).map_or(1, Grid::places)
    }

    /// The fixed maps between f(x^l) and the source of θ^l, for l from 1; empty where θ^l reads layer l itself.
    pub fn maps(&self, l: usize) -> &[Map] {
        &self.maps[l - 1]
    }

    /// Whether the network has convolutions or pools.
    pub fn convolves(&self) -> bool {
        if let Some(graph) = self.graph() {
            let parts = |map: &Map| matches!(map.kind, Connection::Part { .. });
            return graph.vertices().iter().any(|v| v.places > 1)
                || graph.edges().iter().any(|edge| !edge.maps.iter().all(parts));
        }
        (0..self.lmax()).any(|l| self.places(l) > 1 || !self.maps[l].is_empty())
    }

    /// Rows and columns of θ^l, for l from 1 to [`Network::matrices`]: the number of units of layer l − 1 (for a
    /// convolution, of its channels), and their fan-in (for a convolution, kernel² · channels).
    pub fn shape(&self, l: usize) -> (usize, usize) {
        if let Some(graph) = self.graph() {
            let matrix = graph.matrices()[l - 1];
            return (matrix.rows, matrix.columns);
        }
        let at_a_place = |l: usize| self.sizes[l] / self.places(l);
        (at_a_place(l - 1), self.maps[l - 1].last().map_or(at_a_place(l), |map| map.n))
    }

    /// The fan-out of θ^l, which the scale of initial weights depends on; for a convolution kernel² · channels.
    pub(crate) fn fan_out(&self, l: usize) -> usize {
        let of_graph = self.graph().map(|graph| graph.matrices()[l - 1].kernel);
        let kernel = of_graph.unwrap_or_else(|| match self.maps[l - 1].last().map(|map| map.kind) {
            Some(Connection::Patches(window)) => window.kernel as usize,
            _ => 1,
        });
        kernel * kernel * self.shape(l).0
    }

    /// The layer sizes, input first.
    pub fn input_first(&self) -> Vec<usize> {
        self.sizes.iter().rev().copied().collect()
    }

    /// The number of parameters: Σ n^l n^{l+1}, plus Σ n^l with biases; the weights of a convolution count once, not
    /// per position.
    pub fn parameters(&self) -> u64 {
        let shapes = || (1..=self.matrices()).map(|l| self.shape(l));
        let biases: u64 = if self.bias { shapes().map(|(to, _)| to as u64).sum() } else { 0 };
        shapes().map(|(to, from)| to as u64 * from as u64).sum::<u64>() + biases
    }

    /// The activation of layer `upper` in its prediction of the layer below: f, or the identity for the input layer.
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

/// The distribution of initial weights. Biases start at 0.
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
    /// Orthonormal rows, or columns if there are fewer of them (Saxe, McClelland & Ganguli 2014).
    Orthogonal,
    /// Normal, variance 1.
    Normal,
}

impl Init {
    /// Every distribution.
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

    /// The distribution of that name.
    pub fn from_name(name: &str) -> Option<Init> {
        Init::ALL.into_iter().find(|init| init.name() == name)
    }

    /// Fills θ [rows, fan-in].
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

impl Named for Init {
    fn all() -> &'static [Self] {
        &Init::ALL
    }

    fn name(&self) -> &'static str {
        Init::name(*self)
    }

    fn help(&self) -> &'static str {
        match self {
            Init::Uniform => "Uniform in ±1/√(fan-in)",
            Init::Xavier => "Uniform in ±√(6 / (fan-in + fan-out)) (Glorot & Bengio 2010)",
            Init::He => "Normal, variance 2 / fan-in (He et al. 2015)",
            Init::Orthogonal => "Orthonormal rows, or columns (Saxe, McClelland & Ganguli 2014)",
            Init::Normal => "Normal, variance 1",
        }
    }

    fn kind() -> &'static str {
        "Init"
    }
}

/// Orthonormal rows that span the same space as the given ones (Gram-Schmidt, applied twice, one block of rows at a time).
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
    /// Initial weights: θ^l_{ij} uniform in ±1/√n^l (n^l is the fan-in; for a convolution kernel² · channels), biases 0. The key of the
    /// random numbers is (seed, l).
    pub fn init(network: &Network, seed: u64) -> Self {
        Self::drawn(network, seed, Init::Uniform)
    }

    /// Initial weights of the given distribution. The key of the random numbers is (seed, l).
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
