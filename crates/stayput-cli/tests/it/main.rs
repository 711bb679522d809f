//! The binary as its users meet it: real processes, real sockets, real signals.

mod gateway;
mod hostile;
mod keys;
mod mistakes;
mod outage;
mod page;
mod redis;
mod requirements;
mod rotation;
mod shop;
mod survive;
mod up;
mod workspace;
