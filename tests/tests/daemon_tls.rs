//! A daemon that is reached over TCP.
#![cfg(feature = "root")]

use anyhow::{Result, ensure};
use portlane_tests::topology::test_with;
use serde_json::{Value, json};

#[test]
fn over_tcp_who_shows_no_certificate_of_the_authority_is_refused() -> Result<()> {
    test_with(r#"{"hosts": ["tcp://192.0.2.1:2376"]}"#, |net| {
        let said = net.daemon_refused()?;
        ensure!(said.contains("tcp://192.0.2.1:2376 is refused without mutual TLS"), "{said}");
        let (ours, theirs) = (certificates::make(net, "ours")?, certificates::make(net, "theirs")?);
        let [ca, cert, key] = &ours.server;
        net.rewrite_daemon_json(
            &json!({"hosts": ["tcp://192.0.2.1:2376"], "tlsverify": true, "tlscacert": ca, "tlscert": cert, "tlskey": key})
                .to_string(),
        )?;
        let daemon = net.daemon()?;
        let ask = |files: &[String; 3]| {
            let [ca, cert, key] = files.each_ref().map(String::as_str);
            let tls = ["--tlscacert", ca, "--tlscert", cert, "--tlskey", key];
            net.said(&[&["--host", "tcp://192.0.2.1:2376"], &tls[..], &["network", "create", "n"]].concat())
        };
        for (files, words) in [
            (&theirs.client, "no daemon answers"),
            (&[ours.client[0].clone(), theirs.client[1].clone(), theirs.client[2].clone()], "no daemon answers"),
        ] {
            let (code, said) = ask(files)?;
            ensure!(code == Some(1) && said.contains(words) && said.lines().count() == 1, "{code:?}: {said}");
        }
        let said = net.refused(&["--host", "tcp://192.0.2.1:2376", "ps"])?;
        ensure!(said.contains("tlscacert is missing"), "{said}");
        let url = "https://192.0.2.1:2376/containers";
        for program in [&["curl", "-sk", "-X", "POST", url][..], &["curl", "-s", "http://192.0.2.1:2376/containers"]] {
            ensure!(net.outside().run(program).is_err(), "{program:?} is served");
        }
        ensure!(daemon.http("GET", "/networks", "")? == (200, json!([])), "who was refused made a network");
        let (code, said) = ask(&ours.client)?;
        ensure!(code == Some(0), "{code:?}: {said}");
        let [ca, cert, key] = ours.client.each_ref().map(String::as_str);
        let seen = net.outside().run(&[
            "curl",
            "-s",
            "--cacert",
            ca,
            "--cert",
            cert,
            "--key",
            key,
            "https://192.0.2.1:2376/networks/n",
        ])?;
        ensure!(serde_json::from_str::<Value>(&seen)?["name"] == "n", "{seen}");
        Ok(())
    })
}

mod certificates {
    //! An authority, a server's certificate and a client's.

    use std::fs;

    use anyhow::Result;
    use portlane_tests::topology::Topology;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    /// Files: the authority's certificate, the own one, the own key.
    pub struct Files {
        pub server: [String; 3],
        pub client: [String; 3],
    }

    pub fn make(net: &Topology, name: &str) -> Result<Files> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = write(net, &format!("{name}-ca.pem"), &params.self_signed(&key)?.pem())?;
        let issuer = Issuer::new(params, key);
        let signed = |whose: &str| -> Result<[String; 3]> {
            let key = KeyPair::generate()?;
            let certificate = CertificateParams::new(vec!["192.0.2.1".to_owned()])?.signed_by(&key, &issuer)?;
            Ok([
                ca.clone(),
                write(net, &format!("{name}-{whose}.pem"), &certificate.pem())?,
                write(net, &format!("{name}-{whose}.key"), &key.serialize_pem())?,
            ])
        };
        Ok(Files { server: signed("server")?, client: signed("client")? })
    }

    fn write(net: &Topology, name: &str, text: &str) -> Result<String> {
        let path = net.file(name);
        fs::write(&path, text)?;
        Ok(path.to_string_lossy().into_owned())
    }
}
