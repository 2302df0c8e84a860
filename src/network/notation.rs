//! The text notation of a network: [`Network::parse`] reads it, [`Network::notation`] prints it.

use super::{MAX_WIDTH, Map, Network, graph_notation};
use crate::error::{Error, Result};
use crate::files::shown;
use crate::plan::window::Grid;
use crate::plan::{Connection, Window};

/// One word of the notation: a layer or a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// `784`
    Dense(usize),
    /// `3x32x32`, or `28x28` for one channel.
    Image(Grid),
    /// `128c3s1p1`
    Convolution { channels: usize, kernel: u32, stride: u32, padding: u32 },
    /// `m2` or `a2`
    Pool { maximum: bool, size: u32, stride: u32 },
}

impl Word {
    /// Parses one word; `None` if the text is not a word.
    pub(super) fn read(text: &str) -> Option<Word> {
        let text = text.trim();
        // `parse` accepts a plus sign, but here a plus adds what arrives from several layers.
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return text.parse().ok().map(Word::Dense);
        }
        let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u32>().ok())?;
        if text.contains('x') {
            let sides = text.split('x').map(|side| number(side).map(|n| n as usize)).collect::<Option<Vec<_>>>()?;
            return match sides[..] {
                [height, width] => Some(Word::Image(Grid { channels: 1, height, width })),
                [channels, height, width] => Some(Word::Image(Grid { channels, height, width })),
                _ => None,
            };
        }
        if let Some((channels, rest)) = text.split_once('c') {
            let (rest, padding) = rest.split_once('p').map_or((rest, Some(0)), |(rest, p)| (rest, number(p)));
            let (kernel, stride) = rest.split_once('s').map_or((rest, Some(1)), |(kernel, s)| (kernel, number(s)));
            let [channels, kernel] = [number(channels)?, number(kernel)?];
            return Some(Word::Convolution { channels: channels as usize, kernel, stride: stride?, padding: padding? });
        }
        let maximum = text.starts_with('m');
        let rest = text.strip_prefix(['m', 'a'])?;
        let (size, stride) = rest.split_once('s').map_or((rest, None), |(size, s)| (size, Some(number(s))));
        let size = number(size)?;
        Some(Word::Pool { maximum, size, stride: stride.unwrap_or(Some(size))? })
    }
}

impl std::fmt::Display for Word {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Word::Dense(n) => write!(out, "{n}"),
            Word::Image(Grid { channels: 1, height, width }) => write!(out, "{height}x{width}"),
            Word::Image(Grid { channels, height, width }) => write!(out, "{channels}x{height}x{width}"),
            Word::Convolution { channels, kernel, stride, padding } => {
                write!(out, "{channels}c{kernel}")?;
                if stride != 1 {
                    write!(out, "s{stride}")?;
                }
                if padding != 0 {
                    write!(out, "p{padding}")?;
                }
                Ok(())
            }
            Word::Pool { maximum, size, stride } => {
                write!(out, "{}{size}", if maximum { 'm' } else { 'a' })?;
                if stride == size { Ok(()) } else { write!(out, "s{stride}") }
            }
        }
    }
}

/// The route from a layer to the source of the next weights: the fixed maps so far, and the grid they lead to.
#[derive(Debug, Clone, Default)]
pub(super) struct Route {
    /// The grid at the end of the route, and whether its values lie in planes [channels, height, width], the order of data sets.
    pub(super) grid: Option<Grid>,
    pub(super) planes: bool,
    /// The fixed maps since the last layer.
    pub(super) maps: Vec<Map>,
}

impl Route {
    /// Appends a pool.
    pub(super) fn pool(&mut self, word: Word) -> Result<()> {
        let Word::Pool { maximum, size, stride } = word else { return Ok(()) };
        let window = self.window(word, size, stride, 0)?;
        let kind = if maximum { Connection::Maximum(window) } else { Connection::Average(window) };
        self.carry(word, kind, window, window.channels as usize)?;
        Ok(())
    }

    /// Appends the maps that the layer `word` needs; returns the layer's units and its grid.
    pub(super) fn reach(&mut self, word: Word) -> Result<(usize, Option<Grid>)> {
        let (units, grid) = match word {
            Word::Convolution { channels, kernel, stride, padding } => {
                let window = self.window(word, kernel, stride, padding)?;
                // A 1 × 1 kernel of stride 1 reads each place alone, so it needs no im2col.
                let plain = kernel == 1 && stride == 1 && !self.planes;
                let grid = if plain { self.grid } else { None };
                let grid = match grid {
                    Some(grid) => grid,
                    None => {
                        let n = window.patch().unwrap_or(usize::MAX);
                        self.carry(word, Connection::Patches(window), window, n)?
                    }
                };
                let grid = Grid { channels, ..grid };
                (channels.saturating_mul(grid.places()), Some(grid))
            }
            Word::Dense(n) => {
                self.flatten();
                (n, None)
            }
            Word::Image(_) => return Err(Error::usage(format!("{word} is an image; only the input can be an image"))),
            Word::Pool { .. } => return Err(Error::usage(format!("{word} is a pool, not a layer"))),
        };
        check_width(units)?;
        Ok((units, grid))
    }

    /// A window over the current grid.
    fn window(&self, word: Word, kernel: u32, stride: u32, padding: u32) -> Result<Window> {
        let Some(Grid { channels, height, width }) = self.grid else {
            return Err(Error::usage(format!(
                "{word} needs a grid before it: begin --layers with an image, as in 1x28x28,6c5p2,a2,10"
            )));
        };
        let [channels, height, width] = [channels, height, width].map(|n| n as u32);
        let window = Window { channels, height, width, planes: self.planes, kernel, stride, padding };
        if window.places().is_none() {
            let most = height.min(width).saturating_add(padding.saturating_mul(2));
            return Err(Error::usage(match (kernel, stride) {
                (0, _) => format!("the window of {word} must be at least 1 wide"),
                (_, 0) => format!("the stride of {word} must be at least 1"),
                _ if padding >= kernel => format!("the padding of {word} must be less than its window of {kernel}"),
                _ => format!(
                    "{word} does not fit on a grid of {height} × {width}: its window may be at most {most} wide"
                ),
            }));
        }
        Ok(window)
    }

    /// Appends a map to `n` units at each place of the window.
    fn carry(&mut self, word: Word, kind: Connection, window: Window, n: usize) -> Result<Grid> {
        let [height, width] = window.places().unwrap_or([1, 1]);
        let places = height * width;
        if n.checked_mul(places).is_none_or(|all| all > MAX_WIDTH) {
            return Err(Error::usage(format!(
                "{word} needs {n} values at each of {places} places; {MAX_WIDTH} at most in all"
            )));
        }
        self.maps.push(Map { kind, n, places });
        let grid = Grid { channels: window.channels as usize, height, width };
        (self.grid, self.planes) = (Some(grid), false);
        Ok(grid)
    }

    /// Flattens the current grid into one place.
    fn flatten(&mut self) {
        if let Some(grid) = self.grid.take().filter(|grid| !self.planes && grid.places() > 1) {
            self.maps.push(Map { kind: Connection::Flat, n: grid.units(), places: 1 });
        }
    }
}

/// Refuses a layer of no units, or of more than [`MAX_WIDTH`].
fn check_width(n: usize) -> Result<()> {
    if n == 0 || n > MAX_WIDTH {
        return Err(Error::usage(format!(
            "a layer has 1 to {MAX_WIDTH} units; {} given in --layers",
            if n == usize::MAX { "more".into() } else { n.to_string() }
        )));
    }
    Ok(())
}

/// The units of the input, and the route that starts there.
pub(super) fn input(word: Word) -> Result<(usize, Route)> {
    let (units, grid) = match word {
        Word::Image(grid) => {
            let units = grid.channels.checked_mul(grid.height).and_then(|n| n.checked_mul(grid.width));
            (units.unwrap_or(usize::MAX), Some(grid))
        }
        Word::Dense(n) => (n, None),
        // Pools and convolutions are refused here: before the input there is no grid.
        word => {
            let mut route = Route::default();
            route.pool(word)?;
            route.reach(word)?
        }
    };
    check_width(units)?;
    Ok((units, Route { grid, planes: grid.is_some(), maps: Vec::new() }))
}

/// A chain under construction, input first.
struct ChainBuilder {
    sizes: Vec<usize>,
    grids: Vec<Option<Grid>>,
    maps: Vec<Vec<Map>>,
    route: Route,
}

impl ChainBuilder {
    fn new(first: Word) -> Result<ChainBuilder> {
        let (units, route) = input(first)?;
        Ok(ChainBuilder { sizes: vec![units], grids: vec![route.grid], maps: Vec::new(), route })
    }

    fn add(&mut self, word: Word) -> Result<()> {
        if let Word::Pool { .. } = word {
            return self.route.pool(word);
        }
        let (units, grid) = self.route.reach(word)?;
        let route = std::mem::replace(&mut self.route, Route { grid, ..Route::default() });
        self.maps.push(route.maps);
        self.sizes.push(units);
        self.grids.push(grid);
        Ok(())
    }
}

impl Network {
    /// Parses a network, input first: `784,32,32,10`, with convolutions `1x28x28,6c5p2,a2,16c5,a2,120,84,10`, or with skips and
    /// shared weights `784,128=a,128,128+a,10`.
    ///
    /// # Errors
    /// [`Error::Usage`] as [`Network::new`], and for a word outside the notation, a window that does not fit its grid,
    /// an unknown name, a name for something of another shape, or a layer that leads nowhere.
    pub fn parse(layers: &str) -> Result<Self> {
        if graph_notation::is_graph(layers) {
            return graph_notation::read(layers, true).map(Network::of);
        }
        let word = |text: &str| {
            Word::read(text).ok_or_else(|| {
                Error::usage(format!(
                    "--layers takes sizes like 784,32,32,10, input first; \"{}\" is not a size, nor a word of a network \
                     with convolutions like 1x28x28,6c5p2,a2,16c5,m2,84,10, or with skips like 784,128=a,128,128+a,10",
                    shown(text)
                ))
            })
        };
        let words = layers.split(',').map(word).collect::<Result<Vec<Word>>>()?;
        let sizes: Option<Vec<usize>> =
            words.iter().map(|word| if let Word::Dense(n) = word { Some(*n) } else { None }).collect();
        if let Some(sizes) = sizes {
            return Network::new(&sizes);
        }
        if !matches!(words.last(), Some(Word::Dense(_))) {
            return Err(Error::usage(format!(
                "the last word of --layers is the number of outputs, as in {},10; it cannot be an image, a convolution or a pool",
                shown(layers)
            )));
        }
        let mut builder = ChainBuilder::new(words[0])?;
        words.into_iter().skip(1).try_for_each(|word| builder.add(word))?;
        let ChainBuilder { mut sizes, mut grids, mut maps, .. } = builder;
        let mut network = Network::new(&sizes)?;
        sizes.reverse();
        grids.reverse();
        maps.reverse();
        (network.sizes, network.grids, network.maps) = (sizes, grids, maps);
        Ok(network)
    }

    /// The words of the notation that [`Network::parse`] reads, input first.
    pub fn notation(&self) -> Vec<String> {
        if let Some(graph) = &self.graph {
            return graph.words().to_vec();
        }
        let mut words = Vec::new();
        for l in (0..=self.lmax()).rev() {
            if l == self.lmax() {
                words.push(self.grid(l).map_or(Word::Dense(self.n(l)), Word::Image));
                continue;
            }
            let mut patches = None;
            for map in &self.maps[l] {
                match map.kind {
                    Connection::Maximum(w) => {
                        words.push(Word::Pool { maximum: true, size: w.kernel, stride: w.stride });
                    }
                    Connection::Average(w) => {
                        words.push(Word::Pool { maximum: false, size: w.kernel, stride: w.stride });
                    }
                    Connection::Patches(w) => patches = Some((w.kernel, w.stride, w.padding)),
                    Connection::Flat | Connection::Part { .. } | Connection::Dense { .. } | Connection::Identity => {}
                }
            }
            let (kernel, stride, padding) = patches.unwrap_or((1, 1, 0));
            words.push(self.grid(l).map_or(Word::Dense(self.n(l)), |grid| Word::Convolution {
                channels: grid.channels,
                kernel,
                stride,
                padding,
            }));
        }
        words.iter().map(ToString::to_string).collect()
    }

    /// The words of [`Network::notation`] for JSON: sizes as numbers, all other words as strings.
    pub fn to_json(&self) -> Vec<serde_json::Value> {
        let value = |word: String| word.parse::<usize>().map_or_else(|_| word.clone().into(), Into::into);
        self.notation().into_iter().map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsed_networks_print_their_own_notation() {
        for text in [
            "784,10",
            "784,32,32,10",
            "28x28,32,10",
            "3x32x32,128c3p1,m2,256c3p1,m2,512c3,m2,10",
            "28x28,6c5p2,a2,16c5,a2,120,84,10",
            "2x9x7,4c3s2p1,5c1,m3s2,3",
            "2x12x12,m2,4c3,a2,m2s1,7,3",
            "3x4x4,5c1,2",
            "2x3x3,4c3,3",
        ] {
            let network = Network::parse(text).unwrap();
            assert_eq!(network.notation().join(","), text);
            assert_eq!(network.to_string(), text.replace(',', "-"));
            assert_eq!(Network::parse(&network.notation().join(",")).unwrap(), network);
        }
        let spelt = Network::parse(" 1x28x28, 6c5s1p2 ,a2s2,10").unwrap();
        assert_eq!(spelt, Network::parse("28x28,6c5p2,a2,10").unwrap());
    }

    #[test]
    fn shapes_follow_the_notation() {
        let network = Network::parse("3x32x32,128c3p1,m2,256c3p1,m2,512c3,m2,10").unwrap().with_bias(true);
        assert_eq!(network.input_first(), [3072, 128 * 32 * 32, 256 * 16 * 16, 512 * 6 * 6, 10]);
        assert_eq!((4..=4).map(|l| network.shape(l)).collect::<Vec<_>>(), [(128, 27)]);
        assert_eq!(
            (1..=3).map(|l| network.shape(l)).collect::<Vec<_>>(),
            [(10, 512 * 9), (512, 9 * 256), (256, 9 * 128)]
        );
        assert_eq!((0..=4).map(|l| network.places(l)).collect::<Vec<_>>(), [1, 36, 256, 1024, 1]);
        let parameters = 128 * 28 + 256 * (9 * 128 + 1) + 512 * (9 * 256 + 1) + 10 * (512 * 9 + 1);
        assert_eq!(network.parameters(), parameters as u64);
        assert!(network.convolves() && !Network::parse("28x28,10").unwrap().convolves());
    }

    #[test]
    fn invalid_words_are_refused_by_name() {
        for (text, expected) in [
            ("784,6c5,10", "6c5 needs a grid"),
            ("784,m2,10", "m2 needs a grid"),
            ("28x28,6c5,40,m2,10", "m2 needs a grid"),
            ("28x28,6c5,28x28,10", "only the input"),
            ("28x28,6c29,10", "6c29 does not fit"),
            ("28x28,6c5s0,10", "the stride of 6c5s0 must be at least 1"),
            ("28x28,6c5p5,10", "the padding of 6c5p5 must be less than its window of 5"),
            ("28x28,m0,10", "the window of m0 must be at least 1 wide"),
            ("28x28,6c5", "the number of outputs"),
            ("28x28,6c5,m2", "the number of outputs"),
            ("28x28", "the number of outputs"),
            ("0x28,10", "1 to 16777216"),
            ("4294967295x4294967295x4294967295,10", "more given"),
            ("28x28,4294967295c3,10", "1 to 16777216"),
            ("4096x4096,2c3,10", "at most in all"),
            ("28x28,c3,10", "\"c3\" is not a size"),
            ("28x28,6c,10", "\"6c\" is not a size"),
            ("28x28,6c5p,10", "\"6c5p\" is not a size"),
            ("28x28x28x28,10", "is not a size"),
            ("28x28,-6c5,10", "is not a size"),
            ("28x28,6c5p1s1,10", "is not a size"),
            ("28x28,m,10", "is not a size"),
            ("28x28,6c99999999999,10", "is not a size"),
        ] {
            let error = Network::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
