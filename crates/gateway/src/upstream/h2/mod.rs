//! HTTP/2 towards instances.

use std::io;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::call::{Frame, Head, Source};
use super::error::ExchangeError;
use super::tunnel;

#[derive(Debug)]
pub(super) enum Exchange {}

#[derive(Debug)]
pub(super) enum Tunnel {}

impl Exchange {
    pub(super) fn poll_head(
        &mut self,
        _: &mut Context<'_>,
        _: &mut dyn Source,
    ) -> Poll<Result<Head, ExchangeError>> {
        match *self {}
    }

    pub(super) fn poll_frame(
        &mut self,
        _: &mut Context<'_>,
        _: &mut dyn Source,
    ) -> Poll<Option<Result<Frame, ExchangeError>>> {
        match *self {}
    }

    pub(super) fn poll_upload(
        &mut self,
        _: &mut Context<'_>,
        _: &mut dyn Source,
    ) -> Poll<Result<(), ExchangeError>> {
        match *self {}
    }

    pub(super) fn is_end(&self) -> bool {
        match *self {}
    }

    pub(super) fn progress(&self) -> u64 {
        match *self {}
    }

    pub(super) fn condemn(&self) {
        match *self {}
    }

    pub(super) fn into_tunnel(self) -> tunnel::Tunnel {
        match self {}
    }
}

impl Tunnel {
    pub(super) fn poll_read(
        &mut self,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match *self {}
    }

    pub(super) fn poll_write(&mut self, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        match *self {}
    }

    pub(super) fn shutdown(&mut self) -> io::Result<()> {
        match *self {}
    }
}
