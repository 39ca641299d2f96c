//! Tells the other services that the state has changed, whoever changed it.

use log::info;
use tokio::sync::watch;

use super::Result;
use crate::linux::watch::{FileEvent, FileWatch};

/// Ends when the file is gone: portlane was uninstalled.
pub(super) async fn serve(mut file: FileWatch, changed: watch::Sender<()>) -> Result<()> {
    loop {
        match file.next().await? {
            FileEvent::Written => changed.send_replace(()),
            FileEvent::Gone => {
                info!("portlane is uninstalled: the daemon goes too");
                return Ok(());
            }
        }
    }
}
