//! Kernel features that portlane can do without: where they are missing, and, for tests, where they are declared missing.

use std::{io, str::FromStr, sync::OnceLock};

/// A feature with a substitute, under the name that `portlane status` gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// tcx links (Linux 6.6); clsact filters take their place.
    Tcx,
    /// IPv6 forwarding of one interface (Linux 6.17); the administrator's own forwarding setting takes its place.
    ForceForwarding,
    /// Ending sockets of the host (`CONFIG_INET_DIAG_DESTROY`); their processes wait for their own timeouts instead.
    InetDiagDestroy,
}

/// Features that are declared missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Without(Vec<Fallback>);

static MISSING: OnceLock<Without> = OnceLock::new();

impl Fallback {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Tcx, Self::ForceForwarding, Self::InetDiagDestroy];

    /// As `portlane status` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::ForceForwarding => "force_forwarding",
            Self::InetDiagDestroy => "inet_diag_destroy",
        }
    }

    /// Whether this process is to do as if the kernel lacked it.
    pub fn is_declared_missing(self) -> bool {
        MISSING.get().is_some_and(|Without(missing)| missing.contains(&self))
    }

    /// What a kernel without it would answer, where it is declared missing.
    ///
    /// # Errors
    /// It is.
    pub fn allowed(self) -> io::Result<()> {
        match self.is_declared_missing() {
            true => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
            false => Ok(()),
        }
    }
}

impl FromStr for Fallback {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|fallback| fallback.name() == name);
        found.ok_or_else(|| format!("portlane can do without any of {}, and not without `{name}`", names()))
    }
}

impl Without {
    /// Makes this process do as if the kernel lacked them. Only the first call counts.
    pub fn declare(&self) {
        drop(MISSING.set(self.clone()));
    }
}

impl FromStr for Without {
    type Err = String;

    /// Names, with commas between them.
    fn from_str(names: &str) -> Result<Self, String> {
        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
        names.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_declared_missing_by_the_names_that_status_gives_them() {
        let all = Fallback::ALL.map(Fallback::name).join(",");
        assert_eq!(all.parse(), Ok(Without(Fallback::ALL.to_vec())));
        assert_eq!(" tcx ,".parse(), Ok(Without(vec![Fallback::Tcx])));
        assert_eq!("".parse(), Ok(Without::default()), "an empty variable declares nothing");
        let said = "tcx,btf".parse::<Without>().unwrap_err();
        assert!(said.contains("not without `btf`") && said.contains("inet_diag_destroy"), "{said}");
    }
}
