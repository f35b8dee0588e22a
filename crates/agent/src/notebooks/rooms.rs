//! Where runs are: sandboxes for environments of packages, containers for images.

use std::{fs, io, path::PathBuf, sync::Arc};

use domain::{
    ids::{RunId, SessionId},
    machines::MachineKind,
};
use nix::mount::{MntFlags, umount2};

use super::number;
use crate::environments::{
    Environment, ExecError, ExecSpec, Found, RevertReport, Running,
    container::{Container, daemon::GivenHome},
    sandbox::{
        Sandbox,
        daemon::{Link, Placed},
        volume::{self, FILES},
    },
};

#[derive(Clone)]
pub struct Rooms {
    pub sandbox: Arc<Sandbox>,
    pub container: Arc<Container>,
    /// Where the files of containers' persons are mounted on the host, each run's in a directory of its own.
    mounts: PathBuf,
}

impl Rooms {
    pub fn new(sandbox: Arc<Sandbox>, container: Arc<Container>) -> io::Result<Self> {
        let mounts = sandbox.host_mounts().to_owned();
        fs::create_dir_all(&mounts)?;
        Ok(Self { sandbox, container, mounts })
    }

    pub fn of(&self, kind: MachineKind) -> Arc<dyn Environment> {
        match kind {
            MachineKind::Sandbox => self.sandbox.clone(),
            MachineKind::Container => self.container.clone(),
        }
    }

    /// Whether the kernel has ended a process of a run for want of memory.
    pub async fn out_of_memory(&self, running: &Running) -> bool {
        match running.kind {
            MachineKind::Sandbox => self.sandbox.out_of_memory(running) > 0,
            MachineKind::Container => self.container.out_of_memory(running).await,
        }
    }

    /// What is put there goes with the run.
    pub fn directory(&self, kind: MachineKind, run: RunId) -> PathBuf {
        match kind {
            MachineKind::Sandbox => self.sandbox.directory(number(run)),
            MachineKind::Container => self.container.directory(number(run)),
        }
    }

    pub async fn list(&self) -> io::Result<Vec<Found>> {
        let mut found = self.sandbox.list().await?;
        found.extend(self.container.list().await?);
        Ok(found)
    }

    pub async fn daemon(
        &self,
        running: &Running,
        spec: ExecSpec,
        placed: (Vec<Placed>, Vec<Link>),
        log: fs::File,
        log_bytes: u64,
    ) -> Result<i32, ExecError> {
        match running.kind {
            MachineKind::Sandbox => self.sandbox.daemon(running, spec, placed, log, log_bytes).await,
            MachineKind::Container => self.container.daemon(running, spec, placed, log, log_bytes).await,
        }
    }

    /// Mounts a person's files on the host for a container: its engine makes the container's mounts from the host's.
    pub async fn mount(&self, run: RunId, image: PathBuf, uid: u32) -> Result<GivenHome, volume::VolumeError> {
        let at = self.mounts.join(run.to_string());
        let mounted = tokio::task::spawn_blocking(move || {
            fs::create_dir_all(&at).map_err(|source| volume::VolumeError::Image { path: at.clone(), source })?;
            volume::mount_shared(&image, &at)?;
            Ok(GivenHome { source: at.join(FILES), uid })
        });
        mounted
            .await
            .unwrap_or_else(|error| Err(volume::VolumeError::Run { program: "mount", source: io::Error::other(error) }))
    }

    /// Lets go of the files of a run that has ended; without any there is nothing to do.
    pub fn unmount(&self, run: RunId) -> io::Result<()> {
        let at = self.mounts.join(run.to_string());
        match umount2(&at, MntFlags::UMOUNT_NOFOLLOW) {
            // It is no mount, or not there.
            Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
        match fs::remove_dir(&at) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Runs whose files are mounted on the host.
    pub fn mounted(&self) -> io::Result<Vec<RunId>> {
        let names = fs::read_dir(&self.mounts)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter_map(|name| name.parse().ok()).collect())
    }

    /// What is wrong after the revert of a run's environment, of which its files are let go then.
    pub fn left(&self, run: RunId, report: &RevertReport) -> Option<String> {
        let unmounted = |error: io::Error| format!("the person's files stay mounted: {error}");
        report.reason().or_else(|| self.unmount(run).err().map(unmounted))
    }
}

/// The number under which an environment of a run is known, back.
pub fn run_of(session: SessionId) -> RunId {
    RunId::from_uuid(session.uuid())
}
