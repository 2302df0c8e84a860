//! The tiles a matrix product can be made by, and which one a shape gets.
//!
//! Every tile adds the same products in the same order (`shaders/shared/tile.wgsl`), so that the choice shows in
//! the time alone.

use std::collections::BTreeMap;
use std::fmt;

/// A matrix product of a network, and how long its sums are: what a tile is chosen for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Shape {
    /// Whose product it is.
    pub product: Product,
    /// Rows of the results.
    pub m: usize,
    /// Columns of the results.
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
    /// Multiplications and additions.
    pub fn flops(self) -> u64 {
        2 * (self.m * self.n) as u64 * self.k as u64
    }
}

/// How a workgroup makes a part of a matrix product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Threads along a row and along a column of the tile.
    x: u32,
    y: u32,
    /// Blocks of 4 × 4 results that a thread makes, down and across.
    down: u32,
    across: u32,
    /// Length of the sums staged at a time.
    depth: u32,
}

/// The tiles there are, by results a workgroup. Together they take less than WebGPU's default of 16 KiB of
/// workgroup memory and 256 threads, so that every adapter has all of them.
pub const TILES: [Tile; 6] = [
    Tile { x: 8, y: 8, down: 1, across: 1, depth: 16 },
    Tile { x: 8, y: 8, down: 2, across: 1, depth: 16 },
    Tile { x: 8, y: 8, down: 2, across: 2, depth: 16 },
    Tile { x: 16, y: 16, down: 1, across: 1, depth: 16 },
    Tile { x: 16, y: 16, down: 2, across: 1, depth: 16 },
    Tile { x: 16, y: 16, down: 2, across: 2, depth: 8 },
];

/// Workgroups with which a large GPU is busy: the H200 has 132 multiprocessors, most others fewer.
const ENOUGH: u64 = 96;

impl Tile {
    /// Rows of the results.
    pub fn rows(self) -> u32 {
        4 * self.y * self.down
    }

    /// Columns of the results.
    pub fn columns(self) -> u32 {
        4 * self.x * self.across
    }

    /// Threads of a workgroup.
    pub fn threads(self) -> u32 {
        self.x * self.y
    }

    /// The tile of that name (its `Display`), if there is one.
    pub fn named(name: &str) -> Option<Tile> {
        TILES.into_iter().find(|tile| tile.to_string() == name)
    }

    /// Workgroups that these products take together.
    fn workgroups(self, shapes: &[Shape]) -> u64 {
        let tiles = |s: &Shape| s.m.div_ceil(self.rows() as usize) * s.n.div_ceil(self.columns() as usize);
        shapes.iter().map(|s| tiles(s) as u64).sum()
    }

    /// The tile for a launch of these products where nothing was measured: the largest with which a large GPU is
    /// still busy, else the smallest.
    pub fn default_for(shapes: &[Shape]) -> Tile {
        // Of the others, 8 × 4 or 8 × 8 results a thread in a small workgroup, `tune` finds who likes them.
        let candidates = TILES.into_iter().rev().filter(|t| t.threads() == 256);
        candidates.into_iter().find(|tile| tile.workgroups(shapes) >= ENOUGH).unwrap_or(TILES[0])
    }

    /// The pipeline constants of `shaders/shared/tile.wgsl`.
    pub(in crate::device::gpu) fn constants(self) -> [(&'static str, f64); 5] {
        [("X", self.x), ("Y", self.y), ("DOWN", self.down), ("ACROSS", self.across), ("DEPTH", self.depth)]
            .map(|(name, value)| (name, f64::from(value)))
    }
}

/// How the results of a launch are cut into workgroups, and what a workgroup multiplies them with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::device::gpu) enum Cut {
    /// By tiles, in float32.
    Tile(Tile),
    /// By 4 × 4 fragments of matrix units, of operands rounded to float16.
    Units(Units),
    /// The same without the units.
    Emulated(Units),
}

/// An adapter's matrix units, and the subgroups that use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::device::gpu) struct Units {
    /// Rows and columns of a fragment: 8 or 16.
    pub(in crate::device::gpu) side: u32,
    /// Fewest and most threads of a subgroup, of which the driver may choose.
    pub(in crate::device::gpu) subgroup: (u32, u32),
}

impl Cut {
    /// Rows of the results.
    pub(in crate::device::gpu) fn rows(self) -> u32 {
        match self {
            Cut::Tile(tile) => tile.rows(),
            Cut::Units(units) | Cut::Emulated(units) => 4 * units.side,
        }
    }

    /// Columns of the results.
    pub(in crate::device::gpu) fn columns(self) -> u32 {
        match self {
            Cut::Tile(tile) => tile.columns(),
            Cut::Units(units) | Cut::Emulated(units) => 4 * units.side,
        }
    }

    /// The pipeline constants of `shaders/shared/tile.wgsl` or `cooperative.wgsl`.
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
            Cut::Units(Units { side, .. }) => write!(out, "{0}x{0} on units of {side}", 4 * side),
            Cut::Emulated(Units { side, .. }) => write!(out, "{0}x{0} as on units of {side}", 4 * side),
        }
    }
}

/// How a session chooses the tiles of its launches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tiles {
    /// By shape alone.
    Default,
    /// The same for every product.
    All(Tile),
    /// As measured for these shapes; by shape alone for others.
    Measured(BTreeMap<Shape, Tile>),
}

impl Tiles {
    /// The tile measured for the largest of these products, if one was.
    pub(in crate::device::gpu) fn measured(&self, shapes: &[Shape]) -> Option<Tile> {
        let Tiles::Measured(known) = self else { return None };
        known.get(shapes.iter().max_by_key(|s| s.flops())?).copied()
    }

    /// The tile of a launch of these products.
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
    /// Whether it was measured on this adapter, or is the default for the shape.
    pub measured: bool,
}

impl fmt::Display for TileUse {
    /// As in "predict 256×32 of 784: 32x32/64, measured".
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shapes: Vec<String> = self.shapes.iter().map(ToString::to_string).collect();
        let how = if self.measured { "measured" } else { "by default" };
        write!(out, "{}: {}, {how}", shapes.join(" + "), self.tile)
    }
}

impl fmt::Display for Shape {
    /// As in "predict 256×32 of 784": results, and the length of the sums.
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

    /// What `tile.wgsl` takes for granted, and WebGPU's default limits.
    #[test]
    fn every_tile_can_be_staged_within_the_default_limits() {
        for tile in TILES {
            let (left, right) = (tile.y * tile.down, tile.x * tile.across);
            for width in [left, right] {
                // Operands along p: one block of 4 × 4 a thread at most; others: one to four whole rounds of quads.
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

    /// Large products get large tiles, small ones small ones, and what shares a launch is counted together.
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

    /// A measured tile counts for its shape; a launch takes the one of its largest product.
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
