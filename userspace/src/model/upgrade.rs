//! States as earlier versions stored them, in today's form.

use serde_json::{Map, Value, json};

use super::state::{BRIDGED, SCHEMA};

/// Schemas up to this one were stored in one row, containers and all.
pub const OF_ONE_ROW: u32 = 2;
/// Schema in which containers have rows of their own, in JSON.
pub const OF_TEXT: u32 = 3;
/// Schema whose rows are `MessagePack`, and have their ports in lists.
pub const OF_LISTS: u32 = 4;
/// Schema whose rows are `MessagePack`, and have their ports in one string of bytes.
pub const OF_MESSAGES: u32 = 5;
/// What a container of schema 1 had of its one network, and the endpoint has since.
const OF_THE_ENDPOINT: [&str; 4] = ["addr4", "addr6", "mac", "veth"];

/// Brings a stored state of any earlier schema up to today's.
///
/// # Errors
/// A sentence: it is of no known schema, or lacks what it must have.
pub fn upgrade(mut state: Value) -> Result<Value, String> {
    loop {
        match state["schema"].as_u64() {
            Some(schema) if schema == u64::from(SCHEMA) => return Ok(state),
            Some(1) => to_endpoints(&mut state)?,
            // Since then containers have rows of their own in the file, which look otherwise; what is in them is the same.
            Some(2..=5) => state["schema"] = SCHEMA.into(),
            _ => return Err(format!("its schema is {} and not {SCHEMA}", state["schema"])),
        }
    }
}

/// Schema 1 knew one network a container.
fn to_endpoints(state: &mut Value) -> Result<(), String> {
    let containers = state["containers"].as_object_mut().ok_or("it has no containers")?;
    for (id, container) in containers {
        let container = container.as_object_mut().ok_or_else(|| format!("container {id} is no object"))?;
        let number = container.remove("endpoint").and_then(|number| number.as_u64()).unwrap_or_default();
        let mut endpoint: Map<String, Value> = OF_THE_ENDPOINT
            .iter()
            .filter_map(|field| Some((String::from(*field), container.remove(*field)?)))
            .collect();
        let mut endpoints = Vec::new();
        if number != 0 {
            let network = container.insert("network".to_owned(), BRIDGED.into()).unwrap_or_default();
            let rest = json!({
                "number": number, "network": network, "interface": "eth0", "aliases": [], "priority": 0,
            });
            endpoint.extend(rest.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
            endpoints.push(Value::Object(endpoint));
        }
        container.insert("endpoints".to_owned(), endpoints.into());
        container.insert("dns_options".to_owned(), json!([]));
    }
    state["schema"] = 2.into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::State;

    /// As the first version wrote it, shortened.
    const FIRST: &str = r#"{"schema":1,"seed":7,"default_network":{"bip":null,"ipv6":true,"subnet6":null,"icc":true,
        "masquerade":true,"mtu":1500},"networks":{"portlane0":{"id":1,"name":"portlane0","bridge":"portlane0",
        "subnet4":"172.17.0.0/16","gateway4":"172.17.0.1","subnet6":"fd00::/64","gateway6":"fd00::1",
        "bridge_mac":"02:42:01:02:03:04","icc":true,"masquerade":true,"internal":false,"mtu":1500}},"containers":{
        "aa":{"id":"aa","name":"web","endpoint":3,"network":"portlane0","addr4":"172.17.0.2","addr6":"fd00::2",
        "mac":"02:42:ac:11:00:02","veth":"veth1234567","netns":"pl-aa","hostname":"w","dns":[],"dns_search":[],
        "extra_hosts":[],"links":[],"exposed":[],"publishes":[{"id":1,"generation":1,"proto":"tcp","host_addr":null,
        "host":"8080","container_first":80}],"command":["sleep"],"status":{"running":{"pid":7,"start_time":8}},
        "auto_remove":false},
        "bb":{"id":"bb","name":"h","endpoint":0,"network":"host","addr4":"0.0.0.0","addr6":null,
        "mac":"00:00:00:00:00:00","veth":"","netns":"","hostname":"","dns":[],"dns_search":[],"extra_hosts":[],
        "links":[],"exposed":[],"publishes":[],"command":["true"],"status":{"exited":{"code":0}},"auto_remove":false}},
        "next_generation":2}"#;

    #[test]
    fn a_state_of_the_first_version_is_todays_with_one_endpoint_a_container() {
        let old: Value = serde_json::from_str(FIRST).expect("it is JSON");
        let state: State = serde_json::from_value(upgrade(old).expect("it is known")).expect("it is a state");
        let web = state.container("web").expect("it is there");
        let endpoint = web.on("portlane0").expect("it has a place");
        assert_eq!((endpoint.number, endpoint.interface.as_str(), endpoint.veth.as_str()), (3, "eth0", "veth1234567"));
        assert_eq!((endpoint.addr4.to_string(), web.publishes.len()), ("172.17.0.2".to_owned(), 1));
        assert!(web.is_bridged() && state.gateways(web).1.is_some());
        let host = state.container("h").expect("it is there");
        assert_eq!((host.network.as_str(), host.endpoints.len()), ("host", 0));
        let again = serde_json::to_value(&state).expect("it can be stored");
        assert_eq!(upgrade(again.clone()), Ok(again), "what is of today stays");
    }

    #[test]
    fn a_state_of_a_later_version_is_refused() {
        let said = upgrade(json!({"schema": SCHEMA + 1})).expect_err("nobody knows it");
        assert!(said.contains("its schema is 7 and not 6"), "{said}");
    }
}
