//! The helper's half of building something for sandboxes, such as a Python environment, by programs that nobody vouches for:
//! bubblewrap as a user of its own, which sees the host's programs and of the agent's state only what is shown to it.

use std::{
    fs,
    os::fd::{AsRawFd, OwnedFd},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::{mount::MsFlags, unistd::setsid};
use serde::{Deserialize, Serialize};

use super::{
    super::Variables,
    cannot::{Cannot, cannot},
    helper::{Bind, become_user, filter, join_cgroups, limit_files, mount_tmpfs, mount_with, unshare_mounts},
};

/// Where the helper shows what the builder may see of the agent's state: its user cannot pass through the state directory.
pub const SHOWN: &str = "/run";

#[derive(Debug, Serialize, Deserialize)]
pub struct Build {
    pub procs_files: Vec<PathBuf>,
    /// Shown below [`SHOWN`]; what is read-only inside is so by bubblewrap's arguments.
    pub shown: Vec<Bind>,
    pub uid: u32,
    pub bwrap: PathBuf,
    pub bwrap_arguments: Vec<String>,
    /// May hold the password of a package index.
    pub variables: Variables,
    pub largest_file_bytes: u64,
}

pub(super) fn become_bwrap(build: &Build, descriptors: Vec<OwnedFd>) -> Result<(), Cannot> {
    let Ok([output]) = <[OwnedFd; 1]>::try_from(descriptors) else {
        return Err(cannot("build")("it needs one descriptor"));
    };
    setsid().map_err(cannot("begin a session"))?;
    join_cgroups(&build.procs_files)?;
    limit_files(build.largest_file_bytes)?;
    unshare_mounts()?;
    show(&build.shown)?;
    become_user(build.uid)?;
    let errors = output.try_clone().map_err(cannot("hand over the output"))?;
    let filter = filter().map_err(cannot("hand over the filter of system calls"))?;
    let error = Command::new(&build.bwrap)
        .arg("--seccomp")
        .arg(filter.as_raw_fd().to_string())
        .args(&build.bwrap_arguments)
        .env_clear()
        .envs(&build.variables.0)
        .stdin(Stdio::null())
        .stdout(Stdio::from(output))
        .stderr(Stdio::from(errors))
        .exec();
    Err(cannot(format!("run {} (is bubblewrap installed?)", build.bwrap.display()))(error))
}

/// Opens all before the cover goes over [`SHOWN`], below which some of it may lie.
fn show(binds: &[Bind]) -> Result<(), Cannot> {
    let opened: Vec<fs::File> = binds
        .iter()
        .map(|bind| fs::File::open(&bind.source).map_err(cannot(format!("open {}", bind.source.display()))))
        .collect::<Result<_, _>>()?;
    mount_tmpfs(Path::new(SHOWN), "mode=0755,size=64k")?;
    for (bind, source) in binds.iter().zip(&opened) {
        let is_directory = source.metadata().is_ok_and(|data| data.is_dir());
        let made = if is_directory { fs::create_dir(&bind.target) } else { fs::write(&bind.target, "") };
        made.map_err(cannot(format!("make {}", bind.target.display())))?;
        let source = PathBuf::from(format!("/proc/self/fd/{}", source.as_raw_fd()));
        mount_with(&source, &bind.target, MsFlags::MS_BIND)?;
    }
    Ok(())
}
