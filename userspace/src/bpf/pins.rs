//! Where programs, maps and links live between two commands: a folder of the BPF file system.
//!
//! `progs/<program>`, `maps/<map>`, `links/<hook>-<interface>` and `links/<cgroup hook>`. The symbolic link `version`
//! says what they were made from; it is written last and removed first, so it is there only while they are whole.

use std::{
    collections::BTreeSet,
    fs, io,
    os::{fd::OwnedFd, unix::fs::symlink},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};
use portlane_common::{
    config::{map, program},
    reason::Hook,
};

use super::error::{BpfError, Result};
use crate::{linux::bpf_syscall, model::Attachment};

/// The pins of one portlane.
#[derive(Clone, Debug)]
pub struct Pins {
    root: PathBuf,
}

impl Pins {
    /// Those below `root`, which may not exist.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the folder is, or would be, on a BPF file system.
    pub fn on_bpffs(&self) -> bool {
        let nearest = self.root.ancestors().find(|path| path.exists());
        nearest.is_some_and(|path| statfs(path).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC))
    }

    /// Makes the folders.
    pub fn create(&self) -> Result<()> {
        if !self.on_bpffs() {
            return Err(BpfError::NotBpffs { path: self.root.clone() });
        }
        [self.root.clone(), self.progs(), self.maps()].into_iter().try_for_each(create_folder)?;
        self.create_links()
    }

    /// Makes the folder of the links.
    pub fn create_links(&self) -> Result<()> {
        create_folder(self.links())
    }

    /// Keeps other commands from loading or removing at the same time, until dropped.
    pub fn lock(&self) -> Result<Flock<fs::File>> {
        let folder = fs::File::open(&self.root).map_err(BpfError::pin("opened", &self.root))?;
        Flock::lock(folder, FlockArg::LockExclusive)
            .map_err(|(_, error)| BpfError::pin("locked", &self.root)(error.into()))
    }

    /// Folder of the programs.
    pub fn progs(&self) -> PathBuf {
        self.root.join("progs")
    }

    /// Folder of the maps.
    pub fn maps(&self) -> PathBuf {
        self.root.join("maps")
    }

    /// Folder of the links.
    pub fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    /// Pin of a map.
    pub fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// Pin of a program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.progs().join(name)
    }

    /// Opens a program.
    pub fn open_program(&self, name: &str) -> Result<OwnedFd> {
        let path = self.program(name);
        bpf_syscall::obj_get(&path).map_err(BpfError::pin("opened", path))
    }

    /// What the programs and maps were made from, if they are whole.
    pub fn version(&self) -> Option<String> {
        let version = fs::read_link(self.root.join("version")).ok()?;
        let whole = names(&self.progs()).ok()?.is_superset(&programs())
            && names(&self.maps()).ok()?.is_superset(&map::ALL.map(str::to_owned).into());
        whole.then(|| version.to_string_lossy().into_owned())
    }

    /// Says that programs and maps are whole.
    pub fn set_version(&self, version: &str) -> Result<()> {
        self.clear_version()?;
        let path = self.root.join("version");
        symlink(version, &path).map_err(BpfError::pin("created", path))
    }

    /// Says that they are not.
    pub fn clear_version(&self) -> Result<()> {
        remove(&self.root.join("version"))
    }
}

/// Every program's name.
pub fn programs() -> BTreeSet<String> {
    let first = Hook::ALL.iter().map(|hook| hook.name());
    first.chain(program::NEXT).chain(program::NEXT_XDP).chain(program::SOCK_ADDR).map(str::to_owned).collect()
}

/// Name of an attachment's pin.
pub fn link_name(attachment: &Attachment) -> String {
    format!("{}-{}", attachment.hook.name(), file_name(&attachment.interface))
}

/// An interface's name in a pin's. The BPF file system refuses dots; interface names may hold one, but no colon.
pub fn file_name(interface: &str) -> String {
    interface.replace('.', ":")
}

/// The interface that is named so in a pin's name.
pub fn interface(file_name: &str) -> String {
    file_name.replace(':', ".")
}

/// The attachment that a pin of this name belongs to.
pub fn attachment(link_name: &str) -> Option<Attachment> {
    let (hook, interface) = link_name.split_once('-')?;
    let hook = Hook::ALL.into_iter().find(|known| known.name() == hook)?;
    Some(Attachment { interface: self::interface(interface), hook })
}

/// Names in a folder; none if there is no folder.
pub fn names(folder: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    each_name(folder, |name| {
        names.insert(name.to_owned());
    })?;
    Ok(names)
}

/// Shows each of [`names`], in no order.
pub fn each_name(folder: &Path, mut see: impl FnMut(&str)) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BpfError::pin("opened", folder)(error)),
    };
    for entry in entries {
        see(&entry.map_err(BpfError::pin("read", folder))?.file_name().to_string_lossy());
    }
    Ok(())
}

fn create_folder(folder: PathBuf) -> Result<()> {
    fs::create_dir_all(&folder).map_err(BpfError::pin("created", folder))
}

/// Removes a pin, if it is there.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BpfError::pin("removed", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pins_name_leads_back_to_its_attachment() {
        for (interface, hook, name) in [
            ("veth0123456", Hook::FromContainer, "from_container-veth0123456"),
            ("eth0.100", Hook::FromUplink, "from_uplink-eth0:100"),
            ("pl-a-b", Hook::FromUplinkXdp, "from_uplink_xdp-pl-a-b"),
        ] {
            let wanted = Attachment { interface: interface.to_owned(), hook };
            assert_eq!(link_name(&wanted), name);
            assert_eq!(attachment(name), Some(wanted));
        }
        assert_eq!(attachment("connect4"), None);
    }
}
