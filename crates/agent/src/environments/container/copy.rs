//! A copy into a container or out of it: the sandbox's helper does it in the container's mounts, as its first process's user, in
//! the directory in which that was started.

use std::{fs, io, path::PathBuf};

use super::super::{
    ExecError, ExecHandle, Transfer,
    sandbox::{copy::Copying, exec},
};

pub(super) async fn copy(helper: &PathBuf, pid: i32, transfer: Transfer) -> Result<ExecHandle, ExecError> {
    let (uid, gid, cwd) = first(pid).map_err(|error| ExecError::Enter(error.into()))?;
    let order = Copying { procs_files: Vec::new(), pid, uid, gid, cwd, largest_file_bytes: None, transfer };
    exec::copy(helper, order).await
}

/// User and group of the first process as the container sees them, and its directory.
pub(super) fn first(pid: i32) -> io::Result<(u32, u32, String)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let id = |word: &str, map: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(word));
        let id = line.and_then(|ids| ids.split_whitespace().next()?.parse::<u32>().ok());
        let map = fs::read_to_string(format!("/proc/{pid}/{map}"))?;
        id.and_then(|id| inside(&map, id)).ok_or_else(|| io::Error::other("the container's user is not known"))
    };
    let (uid, gid) = (id("Uid:", "uid_map")?, id("Gid:", "gid_map")?);
    let cwd = fs::read_link(format!("/proc/{pid}/cwd"))?;
    Ok((uid, gid, cwd.to_string_lossy().into_owned()))
}

/// What a user of the host is in a namespace with this map.
fn inside(map: &str, id: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let numbers: Vec<u32> = line.split_whitespace().map_while(|number| number.parse().ok()).collect();
        let [inside, outside, count] = numbers[..] else { return None };
        id.checked_sub(outside).filter(|offset| *offset < count).and_then(|offset| inside.checked_add(offset))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_looked_up_in_the_map() {
        let check = |map: &str, id: u32, expected: Option<u32>| assert_eq!(inside(map, id), expected, "{map} {id}");
        check("         0          0 4294967295\n", 1000, Some(1000));
        check("0 1000 1\n1 100000 65536\n", 1000, Some(0));
        check("0 1000 1\n1 100000 65536\n", 100_999, Some(1000));
        check("0 1000 1\n", 0, None);
        check("", 0, None);
    }
}
