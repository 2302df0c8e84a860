//! The tile sizes of matrix products, and the choice of a tile size for a shape.
//!
//! Every tile adds the same products in the same order (`shaders/shared/tile.wgsl`), so the choice affects only the
//! time, not the results.

use std::collections::BTreeMap;
use std::fmt;

/// The kernel and the shape of a matrix product [m, k] · [k, n]. The choice of a tile depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Shape {
    /// The kernel.
    pub product: Product,
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
}

/// The kernels that are matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Product {
    /// μ^l = f(x^{l+1}) θ^{l+1}ᵀ.
    Predict,
    /// ε^{l−1} θ^l.
    Infer,
    /// ε^lᵀ f(x^{l+1}).
    Learn,
}

impl Product {
    /// The kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            Product::Predict => "predict",
            Product::Infer => "infer",
            Product::Learn => "learn",
        }
    }
}

impl Shape {
    /// Multiplications and additions: 2·m·n·k.
    pub fn flops(self) -> u64 {
        2 * (self.m * self.n) as u64 * self.k as u64
    }
}

/// The part of a matrix product that one work group computes, and how its threads divide it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Threads along a row and along a column of the tile.
    x: u32,
    y: u32,
    /// Register tiles of 4 × 4 results per thread, down and across.
    down: u32,
    across: u32,
    /// Depth of the block that is staged in workgroup memory at a time.
    depth: u32,
}

/// All tiles, in ascending order of results per work group. Each stays within WebGPU's default limits of 16 KiB of workgroup memory
/// and 256 threads, so every adapter can run all of them.
pub const TILES: [Tile; 6] = [
    Tile { x: 8, y: 8, down: 1, across: 1, depth: 16 },
    Tile { x: 8, y: 8, down: 2, across: 1, depth: 16 },
    Tile { x: 8, y: 8, down: 2, across: 2, depth: 16 },
    Tile { x: 16, y: 16, down: 1, across: 1, depth: 16 },
    Tile { x: 16, y: 16, down: 2, across: 1, depth: 16 },
    Tile { x: 16, y: 16, down: 2, across: 2, depth: 8 },
];

/// Number of work groups that is sufficient to use a large GPU. (The H200 has 132 multiprocessors, most other GPUs have
/// fewer.)
const ENOUGH: u64 = 96;

impl Tile {
    /// Rows of results per work group.
    pub fn rows(self) -> u32 {
        4 * self.y * self.down
    }

    /// Columns of results per work group.
    pub fn columns(self) -> u32 {
        4 * self.x * self.across
    }

    /// Threads per work group.
    pub fn threads(self) -> u32 {
        self.x * self.y
    }

    /// The tile with this name (its `Display` form), if one exists.
    pub fn named(name: &str) -> Option<Tile> {
        TILES.into_iter().find(|tile| tile.to_string() == name)
    }

    /// Work groups of a launch of these products.
    fn workgroups(self, shapes: &[Shape]) -> u64 {
        let tiles = |s: &Shape| s.m.div_ceil(self.rows() as usize) * s.n.div_ceil(self.columns() as usize);
        shapes.iter().map(|s| tiles(s) as u64).sum()
    }

    /// The tile for a launch of these products without a measurement: the largest tile that gives at least `ENOUGH`
    /// work groups, else the smallest.
    pub fn default_for(shapes: &[Shape]) -> Tile {
        // Tiles with fewer than 256 threads are faster only on some GPUs, which `zilch tune` measures.
        let candidates = TILES.into_iter().rev().filter(|t| t.threads() == 256);
        candidates.into_iter().find(|tile| tile.workgroups(shapes) >= ENOUGH).unwrap_or(TILES[0])
    }

    /// The values of the pipeline constants of `shaders/shared/tile.wgsl`.
    pub(in crate::device::gpu) fn constants(self) -> [(&'static str, f64); 5] {
        [("X", self.x), ("Y", self.y), ("DOWN", self.down), ("ACROSS", self.across), ("DEPTH", self.depth)]
            .map(|(name, value)| (name, f64::from(value)))
    }
}

/// How the results of a launch are divided into work groups, and which units compute them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::device::gpu) enum Cut {
    /// Tiles in float32.
    Tile(Tile),
    /// 4 × 4 fragments on matrix units; operands are rounded to float16.
    Units(Units),
    /// As `Units`, with emulated matrix units.
    Emulated(Units),
}

/// An adapter's matrix units and the subgroups that use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::device::gpu) struct Units {
    /// Rows and columns of a fragment: 8 or 16.
    pub(in crate::device::gpu) side: u32,
    /// Minimum and maximum number of threads per subgroup. The driver chooses within this range.
    pub(in crate::device::gpu) subgroup: (u32, u32),
}

impl Cut {
    /// Rows of results per work group.
    pub(in crate::device::gpu) fn rows(self) -> u32 {
        match self {
            Cut::Tile(tile) => tile.rows(),
            Cut::Units(units) | Cut::Emulated(units) => 4 * units.side,
        }
    }

    /// Columns of results per work group.
    pub(in crate::device::gpu) fn columns(self) -> u32 {
        match self {
            Cut::Tile(tile) => tile.columns(),
            Cut::Units(units) | Cut::Emulated(units) => 4 * units.side,
        }
    }

    /// The values of the pipeline constants of `shaders/shared/tile.wgsl` or `cooperative.wgsl`.
    pub(in crate::device::gpu) fn constants(self) -> Vec<(&'static str, f64)> {
        match self {
            Cut::Tile(tile) => tile.constants().to_vec(),
            Cut::Units(Units { subgroup: (fewest, most), .. })
            | Cut::Emulated(Units { subgroup: (fewest, most), .. }) => {
                let threads = 4 * most;
                vec![("X", f64::from(threads)), ("AREAS", f64::from(threads / fewest))]
            }
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cut::Tile(tile) => write!(out, "{tile}"),
            Cut::Units(Units { side, .. }) => write!(out, "{0}x{0} on {side}x{side} matrix units", 4 * side),
            Cut::Emulated(Units { side, .. }) => {
                write!(out, "{0}x{0} on emulated {side}x{side} matrix units", 4 * side)
            }
        }
    }
}

/// How a session chooses the tiles of its launches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tiles {
    /// The default for the shape, [`Tile::default_for`].
    Default,
    /// The same tile for every product.
    All(Tile),
    /// The measured tile for these shapes; the default for all others.
    Measured(BTreeMap<Shape, Tile>),
}

impl Tiles {
    /// The tile that was measured for the largest of these products, if any.
    pub(in crate::device::gpu) fn measured(&self, shapes: &[Shape]) -> Option<Tile> {
        let Tiles::Measured(known) = self else { return None };
        known.get(shapes.iter().max_by_key(|s| s.flops())?).copied()
    }

    /// The tile for a launch of these products.
    pub(in crate::device::gpu) fn choose(&self, shapes: &[Shape]) -> Tile {
        match self {
            Tiles::All(tile) => *tile,
            _ => self.measured(shapes).unwrap_or_else(|| Tile::default_for(shapes)),
        }
    }
}

/// The tile of one launch of a session.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TileUse {
    /// The products of the launch.
    pub shapes: Vec<Shape>,
    /// The tile's name.
    pub tile: String,
    /// Whether the tile was chosen by measurement on this adapter; else it is the default for the shape.
    pub measured: bool,
}

impl fmt::Display for TileUse {
    /// For instance "predict 256×32 of 784: 32x32/64, measured".
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shapes: Vec<String> = self.shapes.iter().map(ToString::to_string).collect();
        let how = if self.measured { "measured" } else { "by default" };
        write!(out, "{}: {}, {how}", shapes.join(" + "), self.tile)
    }
}

impl fmt::Display for Shape {
    /// For instance "predict 256×32 of 784": rows × columns of the result, and the length of the sums.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}×{} of {}", self.product.name(), self.m, self.n, self.k)
    }
}

impl fmt::Display for Tile {
    /// Rows × columns / threads.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}x{}/{}", self.rows(), self.columns(), self.threads())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every tile meets the assumptions of `tile.wgsl` and stays within WebGPU's default limits.
    #[test]
    fn every_tile_can_be_staged_within_the_default_limits() {
        for tile in TILES {
            let (left, right) = (tile.y * tile.down, tile.x * tile.across);
            for width in [left, right] {
                // Operands contiguous along p are staged in 4 × 4 blocks, at most one per thread; other operands in
                // one, two or four quads per thread.
                assert!(width * tile.depth / 4 <= tile.threads(), "{tile}");
                assert!(tile.threads() % width == 0, "{tile}");
                assert!([1, 2, 4].contains(&(width * tile.depth / tile.threads())), "{tile}");
                assert!(width * tile.depth % tile.threads() == 0, "{tile}");
            }
            assert!(tile.depth % 8 == 0, "{tile}");
            let bytes = 16 * tile.depth * (left + right + 2);
            assert!(bytes <= 16384 && tile.threads() <= 256, "{tile}: {bytes} bytes");
            assert_eq!(Tile::named(&tile.to_string()), Some(tile));
        }
        assert_eq!(Tile::named("3x3/9"), None);
    }

    /// Large products get large tiles and small ones small tiles; the products of one launch count together.
    #[test]
    fn the_default_fills_the_gpu() {
        let shape = |&(m, n): &(usize, usize)| Shape { product: Product::Predict, m, n, k: 7 };
        let name =
            |results: &[(usize, usize)]| Tile::default_for(&results.iter().map(shape).collect::<Vec<_>>()).to_string();
        assert_eq!(name(&[(4096, 4096)]), "128x128/256");
        assert_eq!(name(&[(256, 4096)]), "128x64/256");
        assert_eq!(name(&[(256, 2048)]), "64x64/256");
        assert_eq!(name(&[(20, 32)]), "32x32/64");
        assert_eq!(name(&[(256, 1024)]), "32x32/64");
        assert_eq!(name(&[(256, 1024), (256, 1024)]), "64x64/256");
        assert_eq!(name(&[]), "32x32/64");
    }

    /// A measured tile applies to its shape only; a launch uses the tile of its largest product.
    #[test]
    fn measured_tiles_come_before_the_default() {
        let [large, small] = [40, 3].map(|k| Shape { product: Product::Learn, m: 30, n: 20, k });
        let tiles = Tiles::Measured([(large, TILES[5]), (small, TILES[2])].into());
        assert_eq!(tiles.choose(&[small, large]), TILES[5]);
        assert_eq!(tiles.choose(&[small]), TILES[2]);
        assert_eq!(tiles.choose(&[Shape { m: 31, ..small }]), TILES[0]);
        assert_eq!(Tiles::Default.choose(&[large]), TILES[0]);
        assert_eq!(Tiles::All(TILES[4]).choose(&[small, large]), TILES[4]);
    }
}
