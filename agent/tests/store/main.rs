//! What agents keep in the object store: the log, the tree, and what is published of them; whatever fails meanwhile.

mod calls;
mod counts;
mod listing;
mod publish_model;
mod publishing;
mod rebuild;
mod tree;
mod tree_model;
mod tree_scrub;
mod tree_sweep;
