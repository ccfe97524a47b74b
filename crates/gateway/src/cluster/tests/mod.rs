//! Seeded simulations of a service in virtual time.
