//! Timings of the tile sizes of a matrix product. [`crate::measure::tune`] measures them; [`super::TuneFile`] stores
//! the fastest tile size.

use super::tile::{Shape, Tile};

/// The time of one tile for a product.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Measured {
    /// The tile's name.
    pub tile: String,
    /// Microseconds per launch: median over rounds.
    pub median_us: f64,
    /// First quartile, in microseconds.
    pub q1_us: f64,
    /// Third quartile, in microseconds.
    pub q3_us: f64,
    /// Number of rounds.
    pub rounds: usize,
}

/// The times of all tiles for a product, and the one to use.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Tuned {
    /// The product.
    pub shape: Shape,
    /// The tile used without a measurement.
    pub default: String,
    /// The fastest tile whose third quartile is below the default's median; without one, the default.
    pub winner: String,
    /// The times of all tiles.
    pub tiles: Vec<Measured>,
}

impl Tuned {
    /// The winner's times.
    pub fn winner(&self) -> &Measured {
        self.times(&self.winner)
    }

    /// The default's times.
    pub fn default(&self) -> &Measured {
        self.times(&self.default)
    }

    fn times(&self, tile: &str) -> &Measured {
        // `Tuned::new` takes the names of the winner and the default from `tiles`, so the search succeeds.
        self.tiles.iter().find(|t| t.tile == tile).unwrap_or(&self.tiles[0])
    }

    /// Chooses the winner from the times of a product's tiles.
    pub fn new(shape: Shape, tiles: Vec<Measured>) -> Tuned {
        let default = Tile::default_for(&[shape]).to_string();
        let default_us = tiles.iter().find(|t| t.tile == default).map_or(f64::INFINITY, |t| t.median_us);
        let faster = tiles.iter().filter(|t| t.q3_us < default_us).min_by(|a, b| a.median_us.total_cmp(&b.median_us));
        let winner = faster.map_or_else(|| default.clone(), |t| t.tile.clone());
        Tuned { shape, default, winner, tiles }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tile::{Product, TILES};
    use super::*;

    fn measured(tile: Tile, [q1_us, median_us, q3_us]: [f64; 3]) -> Measured {
        Measured { tile: tile.to_string(), median_us, q1_us, q3_us, rounds: 9 }
    }

    /// A tile replaces the default only if it is faster by more than the noise.
    #[test]
    fn the_default_stays_where_nothing_is_clearly_faster() {
        let shape = Shape { product: Product::Infer, m: 20, n: 32, k: 10 };
        let found =
            |other: [f64; 3]| Tuned::new(shape, vec![measured(TILES[0], [9.0, 10.0, 11.0]), measured(TILES[3], other)]);
        let clear = found([7.0, 8.0, 9.0]);
        assert_eq!((clear.winner.as_str(), clear.default.as_str()), ("64x64/256", "32x32/64"));
        assert_eq!((clear.winner().median_us, clear.default().median_us), (8.0, 10.0));
        assert_eq!(found([7.0, 9.5, 10.5]).winner, "32x32/64");
        assert_eq!(found([12.0, 13.0, 14.0]).winner, "32x32/64");
    }
}
