//! Kubernetes: replicas that are pods of a cluster which is there already.
//!
//! Owns what is asked of the API server and what is told to it. Leaves alone what the pods run, and everything outside the
//! scenario's namespaces.

pub mod cluster;
