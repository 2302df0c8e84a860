//! The tiles a matrix product can be made by, and which one a shape gets.
//!
//! Every tile adds the same products in the same order (`shaders/shared/tile.wgsl`), so that the choice shows in
//! the time alone.

use std::fmt;

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

    /// Workgroups that products of these results, [rows, columns] each, take together.
    fn workgroups(self, results: &[(usize, usize)]) -> u64 {
        let tiles = |&(m, n): &(usize, usize)| m.div_ceil(self.rows() as usize) * n.div_ceil(self.columns() as usize);
        results.iter().map(|r| tiles(r) as u64).sum()
    }

    /// The tile for a launch of products with these results where nothing was measured: the largest with which a
    /// large GPU is still busy, else the smallest.
    pub(super) fn default_for(results: &[(usize, usize)]) -> Tile {
        // A thread with 8 × 8 results alone in a small workgroup is for an adapter that `tune` finds to like it.
        let candidates = TILES.into_iter().rev().filter(|t| t.threads() == 256);
        candidates.into_iter().find(|tile| tile.workgroups(results) >= ENOUGH).unwrap_or(TILES[0])
    }

    /// The pipeline constants of `shaders/shared/tile.wgsl`.
    pub(super) fn constants(self) -> [(&'static str, f64); 5] {
        [("X", self.x), ("Y", self.y), ("DOWN", self.down), ("ACROSS", self.across), ("DEPTH", self.depth)]
            .map(|(name, value)| (name, f64::from(value)))
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
            let bytes = 16 * tile.depth * (left + right + 2) + 4;
            assert!(bytes <= 16384 && tile.threads() <= 256, "{tile}: {bytes} bytes");
            assert_eq!(Tile::named(&tile.to_string()), Some(tile));
        }
        assert_eq!(Tile::named("3x3/9"), None);
    }

    /// Large products get large tiles, small ones small ones, and what shares a launch is counted together.
    #[test]
    fn the_default_fills_the_gpu() {
        let name = |results: &[(usize, usize)]| Tile::default_for(results).to_string();
        assert_eq!(name(&[(4096, 4096)]), "128x128/256");
        assert_eq!(name(&[(256, 4096)]), "128x64/256");
        assert_eq!(name(&[(256, 2048)]), "64x64/256");
        assert_eq!(name(&[(20, 32)]), "32x32/64");
        assert_eq!(name(&[(256, 1024)]), "32x32/64");
        assert_eq!(name(&[(256, 1024), (256, 1024)]), "64x64/256");
        assert_eq!(name(&[]), "32x32/64");
    }
}
