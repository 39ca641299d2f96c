//! `daemon`.

use anyhow::Result;
use clap::Args;
use log::LevelFilter;

use super::Global;
use crate::{
    http::Address,
    service::{self, Source},
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portlane daemon                                     what `portlane --host unix:///run/portlane.sock ps` then asks
  portlane daemon --listen unix:///run/other.sock
  curl --unix-socket /run/portlane.sock http://localhost/containers
  curl --unix-socket /run/portlane.sock http://localhost/containers -d '{
    \"name\": \"web\", \"publishes\": [\"8080:80\"], \"command\": [\"python3\", \"-m\", \"http.server\", \"80\"]}'

GET    /containers                       POST   /containers                 a container, as above
GET    /containers/NAME                  DELETE /containers/NAME[,NAME…]    ?force=true
POST   /containers/NAME/stop             ?time=SECONDS
GET    /containers/NAME/ports            ?port=80/tcp
POST   /containers/NAME/ports            DELETE /containers/NAME/ports      a list: [\"8080:80\", \"53/udp\"]
POST   /namespaces                       somebody else's: {\"netns\": \"w1\", \"publishes\": [\"8080:80\"]}
DELETE /namespaces/NAME[,NAME…]
GET    /networks                         POST   /networks                   a network: {\"name\": \"n\", \"icc\": false}
GET    /networks/NAME                    DELETE /networks/NAME[,NAME…]
POST   /networks/NAME/containers         one more: {\"container\": \"web\", \"aliases\": [\"www\"]}
DELETE /networks/NAME/containers/NAME    POST   /networks/prune
GET    /stats   /flows   /status         POST   /repair                     ?dry_run=true
                                         POST   /reload
Answers are what --json prints; an error is {\"error\": \"the sentence\"}.

daemon.json names more sockets (hosts); one at tcp:// needs tlsverify, tlscacert, tlscert and tlskey.
SIGHUP: as `portlane reload`. SIGTERM, SIGINT: the end; containers stay. As a systemd service: Type=notify,
KillMode=process (or systemd ends the containers too), ExecReload=kill -HUP $MAINPID.")]
pub(super) struct Daemon {
    /// Where to listen, besides the `hosts` of daemon.json (repeatable)
    #[arg(long, value_name = "ADDRESS", default_value = "unix:///run/portlane.sock")]
    listen: Vec<Address>,
}

impl Daemon {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        global.only_here("daemon")?;
        // What it does by itself is worth a line.
        log::set_max_level(log::max_level().max(LevelFilter::Info));
        // Names the keys that mean nothing here.
        global.settings()?;
        let (root, bpffs) = (global.root.clone(), global.bpffs.clone());
        let source = Source::new(global.config_path(), global.config.is_some(), root, bpffs);
        Ok(service::run(source, self.listen).await?)
    }
}
