//! Plans, buffers, data, files, checkpoints, and lost devices.

#![allow(clippy::duplicate_mod, reason = "each example is a program of its own, and has the module of pictures in it")]

mod buffers;
mod checkpoint;
#[path = "../common/mod.rs"]
mod common;
mod data;
mod devices;
mod documents;
mod examples;
mod files;
mod formats;
mod imports;
mod plans;
mod release;
#[path = "../common/repository.rs"]
mod repository;
mod words;
