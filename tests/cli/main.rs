//! Tests of the program, run like a user runs it. The library is used only to prepare files and to check results.

mod assets;
mod augment;
mod bits;
mod commands;
mod data;
mod documents;
mod foreign;
mod layers;
mod memory;
#[path = "../common/networks.rs"]
mod networks;
mod program;
mod report;
#[path = "../common/repository.rs"]
mod repository;
mod reproduce;
mod resume;
mod rules;
mod runs;
mod signals;
mod sweep;
mod train_runs;
mod words;
