//! `zilch draw`

use super::Answer;
use super::args::DrawArgs;
use zilch::files::{counted, write_text};
use zilch::network::read_weights;
use zilch::{Error, Result};
use zilch_lab::draw::receptive_fields;

pub(crate) fn run(args: &DrawArgs) -> Result<Answer> {
    let (network, weights) = read_weights(&args.weights)?;
    if network.convolves() || network.graph().is_some() {
        return Err(Error::usage(format!(
            "draw shows the input weights of fully connected units; {network} has convolutions or skip connections, which are not drawn yet"
        )));
    }
    if args.units == 0 {
        return Err(Error::usage("--units must be at least 1; 0 given"));
    }
    if let Some(rows) = args.rows.filter(|rows| *rows == 0 || !network.inputs().is_multiple_of(*rows)) {
        return Err(Error::usage(format!(
            "--rows {rows} does not divide the {} inputs of {network} into equal rows; give the height of an input image",
            network.inputs()
        )));
    }
    let side = (network.inputs() as f64).sqrt() as usize;
    if args.rows.is_none() && side * side != network.inputs() {
        return Err(Error::usage(format!("{} inputs are not a square image; add --rows", network.inputs())));
    }
    let Some(theta) = weights.theta.last() else { return Err(Error::usage("these weights have no layer")) };
    write_text(&args.out, &receptive_fields(theta, args.rows.unwrap_or(side), args.units)?)?;
    let drawn = args.units.min(theta.nrows());
    Ok(format!("{} of {network} drawn to {}\n", counted(drawn, "unit"), args.out.display()).into())
}
