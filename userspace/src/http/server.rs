//! A daemon's side of a connection.

use std::{convert::Infallible, pin::pin};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Response, StatusCode,
    body::{Bytes, Incoming},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

use super::{
    MAX_REQUEST,
    route::{self, Refusal},
};
use crate::request::Request;

/// Answers the requests that come by a connection, one after another, until the caller hangs up; once `stopped`, only the
/// one that is under way. `answer` does what is asked.
///
/// # Errors
/// The caller speaks no HTTP, or breaks off.
pub async fn serve_connection<F: Future<Output = Result<Value, Refusal>>>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: impl Fn(Request) -> F,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), hyper::Error> {
    let serve = |request| async { Ok::<_, Infallible>(respond(reply(request, &answer).await)) };
    let http = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service_fn(serve));
    let mut connection = pin!(http);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        _ = stopped.wait_for(|stopped| *stopped) => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

async fn reply<F: Future<Output = Result<Value, Refusal>>>(
    request: hyper::Request<Incoming>,
    answer: impl Fn(Request) -> F,
) -> Result<Value, Refusal> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MAX_REQUEST).collect().await.map_err(|error| Refusal {
        status: 400,
        sentence: format!("the body of the request cannot be read: {error}"),
    })?;
    let request = route::read(head.method.as_str(), head.uri.path(), head.uri.query(), &body.to_bytes())?;
    answer(request).await
}

fn respond(answer: Result<Value, Refusal>) -> Response<Full<Bytes>> {
    let (status, value) = match answer {
        Ok(value) => (StatusCode::OK, value),
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, json!({"error": refusal.sentence}))
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(format!("{value:#}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    response
}
