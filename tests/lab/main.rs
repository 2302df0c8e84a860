//! The experiments of `zilch reproduce`, and their committed records, without the program.

mod experiments;
mod pages;
#[path = "../common/repository.rs"]
mod repository;
