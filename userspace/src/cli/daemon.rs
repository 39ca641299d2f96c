//! `daemon`.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use tokio::{sync::watch, time::sleep};

use super::Global;
use crate::{service::dns, store::Stamp};

/// How often the state is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Answer containers that ask for names, until stopped
#[derive(Debug, Args)]
pub(super) struct Daemon;

impl Daemon {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let settings = global.settings()?;
        let root = settings.root.clone();
        let (tell, changes) = watch::channel(());
        let look = async {
            let mut seen = Stamp::of(&root);
            loop {
                sleep(LOOK).await;
                let stamp = Stamp::of(&root);
                if stamp != seen {
                    seen = stamp;
                    tell.send_replace(());
                }
            }
        };
        tokio::select! {
            served = dns::serve(settings, changes) => Ok(served?),
            () = look => Ok(()),
        }
    }
}
