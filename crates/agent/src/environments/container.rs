//! Environments of kind `container`.
use std::io;

use async_trait::async_trait;
use domain::ids::SessionId;
use tokio_util::sync::CancellationToken;

use super::{
    AdoptError, Check, ConnectError, Connection, Environment, ExecError, ExecHandle, ExecSpec, Found, PrepareError,
    PrepareSpec, PrepareStep, RevertReport, Running, StepSink, Target, Usage,
};
use crate::config::AgentConfig;

#[derive(Debug)]
pub struct Instance {}

#[derive(Debug)]
pub struct Container {}

impl Container {
    pub fn new(_config: &AgentConfig) -> io::Result<Self> {
        Ok(Self {})
    }
}

#[async_trait]
impl Environment for Container {
    async fn prepare(&self, _: PrepareSpec, _: &StepSink, _: &CancellationToken) -> Result<Running, PrepareError> {
        Err(PrepareError::new(PrepareStep::Start, "container environments are not built yet"))
    }
    async fn adopt(&self, session: SessionId) -> Result<Running, AdoptError> {
        Err(AdoptError::NotFound(session))
    }
    async fn exec(&self, _: &Running, _: ExecSpec) -> Result<ExecHandle, ExecError> {
        Err(ExecError::NotRunning("not built yet".to_owned()))
    }
    async fn connect(&self, _: &Running, _: &Target) -> Result<Box<dyn Connection>, ConnectError> {
        Err(ConnectError::NotRunning("not built yet".to_owned()))
    }
    async fn usage(&self, _: &Running) -> io::Result<Usage> {
        Err(io::ErrorKind::Unsupported.into())
    }
    async fn gone(&self, _: &Running) {}
    async fn revert(&self, _: SessionId) -> RevertReport {
        RevertReport { checks: vec![Check::new("destroy", false, "not built yet")], took_ms: 0 }
    }
    async fn list(&self) -> io::Result<Vec<Found>> {
        Ok(Vec::new())
    }
}
