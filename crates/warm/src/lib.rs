//! A module for `CPython` that makes of the process that imports it a warm interpreter: importing it waits for orders from the
//! agent and forks for each, and only the forks come back, as processes that may run foreign code and nothing else.
//!
//! So whatever the process had imported before is there in each of them, and none of them was there before it. The process
//! itself never runs foreign code. What stands between the fork and that code is `sandkeep_sandbox::start`, as for every
//! other process of code; how the interpreter then becomes the one that was asked for is `crates/agent/src/agent/warm/python.py`.
//!
//! It is a shared object without a name of its own in the file system: the agent carries it and hands it over as a file of
//! memory. It uses the stable ABI (PEP 384) of Python 3.8 and later, and glibc. Elsewhere it cannot be loaded, or (builds of Python
//! whose objects are others) the script does not load it, and code is started as if there were no warm interpreter.

mod python;
mod serve;
mod settle;
mod title;
mod trim;
