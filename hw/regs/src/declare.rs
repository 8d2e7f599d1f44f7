//! `registers!`: the declaration.
