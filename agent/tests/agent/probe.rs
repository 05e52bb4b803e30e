//! `probe`: what it prints. What the operator makes of it is tested with the operator.
