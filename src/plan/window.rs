//! Windows over grids: what convolutions, pooling and flattening bring from one layer to the next.
//!
//! A convolution is a dense projection applied at many places. What it is applied to, the patch below each place, is brought
//! there by a fixed linear map without weights, and errors come back through the map's transpose. The maps are connections of a
//! plan ([`crate::plan::Connection`]), and a [`Window`] says which units they connect.

/// Units laid out as channels on a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Units at each place.
    pub channels: usize,
    /// Rows of places.
    pub height: usize,
    /// Places of a row.
    pub width: usize,
}

impl Grid {
    /// Places.
    pub fn places(self) -> usize {
        self.height * self.width
    }

    /// Units of all places.
    pub fn units(self) -> usize {
        self.channels * self.places()
    }
}

/// A square window that moves over the grid of the units that send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Channels of the grid.
    pub channels: u32,
    /// Rows of it.
    pub height: u32,
    /// Columns of it.
    pub width: u32,
    /// Whether the senders are one place of channels · height · width units, channel after channel, as a data set has images;
    /// else they are height · width places of `channels` units, row after row.
    pub planes: bool,
    /// Rows and columns of the window.
    pub kernel: u32,
    /// Places from one window to the next, both ways.
    pub stride: u32,
    /// Rows and columns of zeros around the grid.
    pub padding: u32,
}

impl Window {
    /// Rows and columns of windows; nothing where no window fits, or its numbers are absurd.
    pub fn places(&self) -> Option<[usize; 2]> {
        let side = |n: u32| {
            let all = n.checked_add(self.padding.checked_mul(2)?)?;
            let fits = n > 0 && self.kernel > 0 && self.stride > 0 && self.padding < self.kernel;
            fits.then(|| all.checked_sub(self.kernel).map(|rest| (rest / self.stride + 1) as usize))?
        };
        Some([side(self.height)?, side(self.width)?])
    }

    /// Units that send, as [units at a place, places]; nothing where there are absurdly many.
    pub fn senders(&self) -> Option<[usize; 2]> {
        let places = (self.height as usize).checked_mul(self.width as usize)?;
        let all = places.checked_mul(self.channels as usize)?;
        Some(if self.planes { [all, 1] } else { [self.channels as usize, places] })
    }

    /// Units of a patch: kernel² · channels.
    pub fn patch(&self) -> Option<usize> {
        (self.kernel as usize).checked_pow(2)?.checked_mul(self.channels as usize)
    }
}
