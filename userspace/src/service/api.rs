//! The callers' side: what the command line does, over HTTP.

use std::{io, sync::Arc, time::Duration};

use log::{info, warn};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{Source, apart, ends::Process, listen::Socket, reload};
use crate::{
    engine::EngineError,
    http::{Refusal, serve_connection},
    request::{self, Request},
};

/// How long a listener rests when there are no descriptors for another connection.
const REST: Duration = Duration::from_millis(100);
/// How long a caller over TCP may take to show its certificate.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Who answers.
pub(super) struct Callee {
    pub(super) source: Source,
    /// Who sees the end of the containers that are started here.
    pub(super) children: mpsc::UnboundedSender<Process>,
}

/// Answers callers until `stopped`, and those that are waiting then.
pub(super) async fn serve(callee: Callee, sockets: Vec<Socket>, stopped: watch::Receiver<bool>) {
    let callee = Arc::new(callee);
    let mut listeners: JoinSet<()> = sockets
        .into_iter()
        .map(|socket| {
            let (callee, stopped, mut stop) = (Arc::clone(&callee), stopped.clone(), stopped.clone());
            async move {
                let mut callers = JoinSet::new();
                tokio::select! {
                    () = accept(&callee, &socket, &stopped, &mut callers) => {}
                    _ = stop.wait_for(|stopped| *stopped) => {}
                }
                drop(socket);
                while callers.join_next().await.is_some() {}
            }
        })
        .collect();
    while listeners.join_next().await.is_some() {}
}

async fn accept(callee: &Arc<Callee>, socket: &Socket, stopped: &watch::Receiver<bool>, callers: &mut JoinSet<()>) {
    loop {
        // Those that are done are forgotten.
        while callers.try_join_next().is_some() {}
        let (callee, stopped) = (Arc::clone(callee), stopped.clone());
        let accepted = match socket {
            Socket::Unix { listener, .. } => listener.accept().await.map(|(stream, _)| {
                callers.spawn(converse(callee, stream, stopped));
            }),
            Socket::Tls(listener, tls) => listener.accept().await.map(|(stream, peer)| {
                let handshake = tokio::time::timeout(HANDSHAKE, tls.accept(stream));
                callers.spawn(async move {
                    match handshake.await {
                        Ok(Ok(stream)) => converse(callee, stream, stopped).await,
                        Ok(Err(error)) => info!("{peer} is refused: {error}"),
                        Err(_) => info!("{peer} is refused: it shows no certificate"),
                    }
                });
            }),
        };
        if let Err(error) = accepted {
            rest(&error).await;
        }
    }
}

async fn rest(error: &io::Error) {
    warn!("a caller could not be accepted: {error}");
    tokio::time::sleep(REST).await;
}

async fn converse(callee: Arc<Callee>, stream: impl AsyncRead + AsyncWrite + Unpin, stopped: watch::Receiver<bool>) {
    let ended = serve_connection(stream, |request| answer(Arc::clone(&callee), request), stopped).await;
    if let Err(error) = ended {
        info!("a caller went away: {error}");
    }
}

/// Begun, a request is carried out even if its caller goes away.
async fn answer(callee: Arc<Callee>, request: Request) -> Result<Value, Refusal> {
    let answered = apart(move || async move {
        let settings = callee.source.read()?;
        let request = match request {
            Request::Run(request) => *request,
            Request::Reload => return reload(&callee.source).await,
            other => return other.perform(settings).await,
        };
        let (answer, started) = request::run(settings, request).await?;
        let process = (started.id, started.running.pid(), started.running.start_time());
        // Nobody listens while the daemon ends.
        let _ = callee.children.send(process);
        Ok(answer)
    });
    answered.await.map_err(refusal)
}

fn refusal(error: EngineError) -> Refusal {
    let status = match &error {
        error if error.is_unknown() => 404,
        error if error.is_refusal() => 409,
        _ => 500,
    };
    Refusal { status, sentence: error.to_string() }
}
