//! Calls of the function: the journal answers a second one, the run must be alive, and credentials by
//! reference are the ones that the secret has now.

mod by_reference;
mod calls;
mod world;
