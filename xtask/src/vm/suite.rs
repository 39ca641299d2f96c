//! What runs in a machine: suites of test programs, whole or those tests of them to which a kernel makes a difference.

use std::fmt::{self, Display, Formatter, Write};

use anyhow::{Context, Result, ensure};

use super::programs::Programs;

/// Which tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Those that a kernel could make a difference to: attaching, helpers, sockets, offloads, what is left by a crash.
    Kernels,
    /// All tests of the suites.
    All,
    /// Test programs of these names, and tests whose names contain one.
    Named(Vec<String>),
}

/// Test programs under one heading.
#[derive(Debug)]
struct Suite {
    name: &'static str,
    /// Where the network cards of the machine are the cables, not veths.
    cards: bool,
    /// Names, and of their tests those that [`Choice::Kernels`] takes; empty for all.
    programs: &'static [(&'static str, &'static [&'static str])],
}

/// The name of the suite whose output has what each program costs the verifier.
pub const VERIFIER: &str = "verifier";
/// What a kernel that is too old runs instead.
pub const REFUSAL: &str = "refusal";

const SUITES: [Suite; 5] = [
    Suite { name: VERIFIER, cards: false, programs: &[("verifier", &[])] },
    Suite { name: "program runs", cards: false, programs: &[("program_runs", &[])] },
    Suite {
        name: "traffic",
        cards: false,
        programs: &[
            (
                "publish",
                &[
                    "a_host_port_leads_to_a_container_port_and_the_server_sees_the_clients_own_address",
                    "a_range_of_16000_ports_is_one_entry_and_leads_port_by_port",
                    "a_container_reaches_published_ports_by_the_hosts_address_its_own_included",
                ],
            ),
            (
                "masquerade",
                &[
                    "a_server_outside_sees_the_hosts_address_and_the_containers_source_port",
                    "echo_requests_of_containers_are_answered",
                ],
            ),
            (
                "isolation",
                &[
                    "without_icc_containers_do_not_reach_each_other_but_reach_out_and_are_reached",
                    "a_container_cannot_send_from_an_address_that_is_not_its_own",
                ],
            ),
            (
                "host_access",
                &[
                    "a_process_of_the_host_reaches_published_ports_on_loopback_and_on_every_host_address",
                    "a_published_port_cannot_be_bound_on_the_host_until_it_is_unpublished",
                ],
            ),
            ("sctp", &["a_published_sctp_port_leads_to_the_container_under_its_own_number_and_another"]),
            ("pieces", &["pieces_from_outside_make_a_datagram_in_whatever_order_they_come"]),
            ("path", &["an_echo_request_that_is_too_large_for_a_cable_on_the_way_is_answered_by_the_router"]),
            ("offload", &["trains_of_datagrams_pass_whole"]),
        ],
    },
    Suite {
        name: "restart",
        cards: false,
        programs: &[
            (
                "lifetime",
                &[
                    "removing_a_container_resets_the_connections_of_its_clients",
                    "what_a_removed_container_leaves_in_the_tables_goes_away_by_itself",
                ],
            ),
            ("upgrade", &[]),
            ("control_plane", &["repair_puts_back_what_somebody_took_away"]),
            ("crash", &["a_killed_publish_opens_the_port_or_leaves_it_closed"]),
        ],
    },
    Suite {
        name: "virtio XDP",
        cards: true,
        programs: &[(
            "xdp",
            &[
                "published_ports_and_masquerade_work_behind_native_xdp",
                "a_containers_address_is_closed_to_the_outside_behind_native_xdp",
            ],
        )],
    },
];

/// One test program to start in a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The heading it counts under.
    pub suite: String,
    /// Whether the machine's network cards are its cables.
    pub cards: bool,
    /// Its name.
    pub program: String,
    /// Only tests with these in their names; all if empty.
    pub tests: Vec<String>,
}

impl Job {
    fn line(&self) -> String {
        let cables = if self.cards { "cards" } else { "cables" };
        format!("{}\t{cables}\t{}\t{}", self.suite, self.program, self.tests.join(" "))
    }

    /// Reads a line that [`jobs`] wrote.
    pub fn parse(line: &str) -> Option<Self> {
        let [suite, cards, program, tests] = *line.split('\t').collect::<Vec<_>>() else { return None };
        Some(Self {
            suite: suite.to_owned(),
            cards: cards == "cards",
            program: program.to_owned(),
            tests: tests.split_whitespace().map(str::to_owned).collect(),
        })
    }
}

/// Every so manieth job: several machines share a kernel's among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// From 0 on.
    pub number: usize,
    /// How many parts there are.
    pub count: usize,
}

impl Part {
    /// Reads what its display wrote.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(text: &str) -> Result<Self> {
        let parts = text.split_once('/').and_then(|(number, count)| Some((number.parse().ok()?, count.parse().ok()?)));
        let part = parts.map(|(number, count)| Self { number, count });
        part.filter(|part| part.number < part.count).with_context(|| format!("not a part of the jobs: `{text}`"))
    }

    /// Those among all jobs.
    pub fn of(self, jobs: &[Job]) -> impl Iterator<Item = &Job> {
        jobs.iter().skip(self.number).step_by(self.count)
    }
}

impl Display for Part {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.count)
    }
}

/// The jobs of a choice, a line each, as the guest reads them.
///
/// # Errors
/// A program is not built, or nothing is chosen.
pub fn jobs(choice: &Choice, programs: &Programs) -> Result<String> {
    let mut lines = String::new();
    for suite in &SUITES {
        for (program, chosen) in suite.programs {
            let tests = match choice {
                Choice::Kernels => Some(chosen.iter().map(|test| (*test).to_owned()).collect()),
                Choice::All => Some(vec![]),
                Choice::Named(names) if names.iter().any(|name| name == program) => Some(vec![]),
                Choice::Named(_) => None,
            };
            let Some(tests) = tests else { continue };
            ensure!(programs.has(program), "there is no test program `{program}`");
            let job = Job { suite: suite.name.to_owned(), cards: suite.cards, program: (*program).to_owned(), tests };
            writeln!(lines, "{}", job.line())?;
        }
    }
    if let Choice::Named(names) = choice {
        let known = |name: &str| SUITES.iter().any(|suite| suite.programs.iter().any(|(program, _)| *program == name));
        for name in names.iter().filter(|name| !known(name)) {
            let (found, tests) = match programs.has(name) {
                true => (vec![name.clone()], vec![]),
                false => (programs.with_test(name)?, vec![name.clone()]),
            };
            ensure!(!found.is_empty(), "there is no test program `{name}`, and no test with that in its name");
            for program in found {
                let job = Job { suite: "named".to_owned(), cards: false, program, tests: tests.clone() };
                writeln!(lines, "{}", job.line())?;
            }
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_read_as_they_are_written() {
        for tests in [vec![], vec!["a".to_owned(), "b".to_owned()]] {
            let job = Job { suite: "program runs".to_owned(), cards: true, program: "publish".to_owned(), tests };
            assert_eq!(Job::parse(&job.line()), Some(job));
        }
        assert_eq!(Job::parse("traffic\tpublish"), None);
    }

    #[test]
    fn parts_are_all_jobs_and_none_twice() -> Result<()> {
        let job = |number: usize| Job::parse(&format!("traffic\tcables\t{number}\t")).context("no job");
        let jobs = (0..5).map(job).collect::<Result<Vec<_>>>()?;
        let part = |number| Part::parse(&Part { number, count: 2 }.to_string());
        let names = |part: Part| part.of(&jobs).map(|job| job.program.clone()).collect::<Vec<_>>();
        assert_eq!([names(part(0)?), names(part(1)?)], [vec!["0", "2", "4"], vec!["1", "3"]]);
        assert!(Part::parse("2/2").is_err() && Part::parse("").is_err());
        Ok(())
    }
}
