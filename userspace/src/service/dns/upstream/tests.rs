//! Name servers of all kinds.

use std::{io, net::SocketAddr};

use tokio::{
    net::{TcpListener, UdpSocket},
    task,
};

use super::{ask, read, write};
use crate::service::dns::answer::Transport::{Tcp, Udp};

/// `web.test`, type A.
const QUERY: &[u8] = b"\xab\xcd\x01\0\0\x01\0\0\0\0\0\0\x03web\x04test\0\0\x01\0\x01";

/// A server that answers a question with these messages, given the question.
async fn server(answers: fn(Vec<u8>) -> Vec<Vec<u8>>) -> io::Result<SocketAddr> {
    let udp = UdpSocket::bind("127.0.0.1:0").await?;
    let at = udp.local_addr()?;
    let tcp = TcpListener::bind(at).await?;
    task::spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut query).await {
            for answer in answers(query[..length].to_vec()) {
                udp.send_to(&answer, from).await.expect("sends");
            }
        }
    });
    task::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let query = read(&mut stream).await.expect("reads");
            for answer in answers(query) {
                // Whoever has heard enough has closed.
                let _ = write(&mut stream, &answer).await;
            }
        }
    });
    Ok(at)
}

/// The question as an answer with this code, and with its last byte twice.
fn coded(mut query: Vec<u8>, code: u8) -> Vec<u8> {
    query[2] |= 0x80;
    query[3] = code;
    query.push(1);
    query
}

fn good(query: Vec<u8>) -> Vec<Vec<u8>> {
    vec![coded(query, 0)]
}

async fn nobody() -> io::Result<SocketAddr> {
    UdpSocket::bind("127.0.0.1:0").await?.local_addr()
}

#[tokio::test]
async fn the_answer_has_the_askers_number_and_is_otherwise_what_the_server_said() -> io::Result<()> {
    let server = server(good).await?;
    for transport in [Udp, Tcp] {
        assert_eq!(ask(&[server], transport, QUERY).await, Some(coded(QUERY.to_vec(), 0)), "{transport:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_not_there_or_does_not_help_is_passed_over() -> io::Result<()> {
    let helpless = [
        nobody().await?,
        server(|query| vec![coded(query, 1)]).await?,
        server(|query| vec![coded(query, 2)]).await?,
        server(|query| vec![coded(query, 5)]).await?,
    ];
    for transport in [Udp, Tcp] {
        assert_eq!(ask(&helpless, transport, QUERY).await, None, "{transport:?}");
        let last = server(|query| vec![coded(query, 3)]).await?;
        let all = [&helpless[..], &[last]].concat();
        assert_eq!(ask(&all, transport, QUERY).await, Some(coded(QUERY.to_vec(), 3)), "no such name; {transport:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_answers_no_question_of_ours_is_not_listened_to() -> io::Result<()> {
    let liar = server(|query| {
        let [mut number, mut other] = [query.clone(), query.clone()].map(|query| coded(query, 3));
        number[1] ^= 1;
        other[13] ^= 1;
        vec![Vec::new(), b"\0".to_vec(), query[..12].to_vec(), query.clone(), number, other, coded(query, 0)]
    })
    .await?;
    assert_eq!(ask(&[liar], Udp, QUERY).await, Some(coded(QUERY.to_vec(), 0)));
    Ok(())
}

#[tokio::test]
async fn a_question_that_breaks_off_goes_nowhere() -> io::Result<()> {
    let server = server(good).await?;
    for length in 0..QUERY.len() {
        assert_eq!(ask(&[server], Udp, &QUERY[..length]).await, None, "{length} bytes");
    }
    Ok(())
}
