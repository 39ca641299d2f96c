//! Taking everything of portlane's out of the kernel.

use std::{fs, io, path::Path};

use super::{
    attach,
    error::{BpfError, Result},
    pins::{self, Pins},
};

/// Detaches every program and removes every pin below `bpffs`; the kernel frees what nobody else holds.
/// Does nothing if there is nothing.
pub fn remove(bpffs: &Path) -> Result<()> {
    let pins = Pins::new(bpffs);
    if !bpffs.exists() {
        return Ok(());
    }
    if !pins.on_bpffs() {
        return Err(BpfError::NotBpffs { path: bpffs.to_owned() });
    }
    let lock = pins.lock()?;
    pins.clear_version()?;
    attach::detach_all(&pins)?;
    for folder in [pins.links(), pins.progs(), pins.maps()] {
        for name in pins::names(&folder)? {
            pins::remove(&folder.join(name))?;
        }
        remove_folder(&folder)?;
    }
    drop(lock);
    remove_folder(bpffs)
}

/// A folder that holds something of others' stays.
fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir(path) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
            Err(BpfError::pin("removed", path)(error))
        }
        _ => Ok(()),
    }
}
