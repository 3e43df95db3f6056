//! Packages from web servers: cut off and gone on with, too large, too slow, led astray, over TLS, through a proxy.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::publisher::{Ended, Publisher, stream};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a server does beside serving files.
#[derive(Clone, Default)]
struct Manners {
    /// Ends each answer to a package's request after so many bytes.
    cut: Option<usize>,
    /// Says nothing of the file's state, so that nothing can be gone on with.
    forgets: bool,
    /// Says that the body has so many bytes.
    lies: Option<u64>,
    /// Waits so long in the middle.
    pause: Option<Duration>,
    /// Sends everybody there.
    leads_to: Option<String>,
}

/// A server of a folder; it goes with the test's process.
struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(folder: &Path, manners: &Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (folder, manners, log) = (folder.to_owned(), manners.clone(), seen.clone());
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (folder, manners, log) = (folder.clone(), manners.clone(), log.clone());
                // Whoever hangs up in the middle has seen enough.
                std::thread::spawn(move || drop(serve(connection.unwrap(), &folder, &manners, &log)));
            }
        });
        Self { port, seen }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// The requests for packages so far: their first line and their range.
    fn packages(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|line| line.contains(".zst ")).cloned().collect()
    }
}

fn serve(mut to: TcpStream, folder: &Path, manners: &Manners, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut from = BufReader::new(to.try_clone()?);
    let mut first = String::new();
    from.read_line(&mut first)?;
    let (mut range, mut line) = (None, String::new());
    while from.read_line(&mut line)? > 2 {
        let lower = line.to_ascii_lowercase();
        if let Some(start) = lower.strip_prefix("range: bytes=") {
            range = start.trim().trim_end_matches('-').parse::<usize>().ok();
        }
        line.clear();
    }
    log.lock().unwrap().push(format!("{} from {range:?}", first.trim()));
    if first.starts_with("CONNECT ") {
        // A proxy that answers by itself, as far as anybody can tell.
        write!(to, "HTTP/1.1 200 OK\r\n\r\n")?;
        return serve(to, folder, manners, log);
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    if let Some(place) = &manners.leads_to {
        return write!(
            to,
            "HTTP/1.1 302 Found\r\nLocation: {place}/{}\r\nContent-Length: 0\r\n\r\n",
            path.trim_start_matches('/')
        );
    }
    let file = folder.join(path.trim_start_matches('/').split('?').next().unwrap());
    let Ok(bytes) = fs::read(&file) else {
        return write!(to, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let is_package = file.extension().is_some_and(|extension| extension == "zst");
    let start = range.filter(|_| !manners.forgets).unwrap_or(0);
    let status = match start {
        0 => "200 OK".to_owned(),
        _ => format!("206 Partial Content\r\nContent-Range: bytes {start}-{}/{}", bytes.len() - 1, bytes.len()),
    };
    let tag = if manners.forgets { "" } else { "ETag: \"one\"\r\n" };
    let length = manners.lies.filter(|_| is_package).unwrap_or((bytes.len() - start) as u64);
    write!(to, "HTTP/1.1 {status}\r\n{tag}Content-Length: {length}\r\nConnection: close\r\n\r\n")?;
    let end = manners.cut.filter(|_| is_package).map_or(bytes.len(), |cut| bytes.len().min(start + cut));
    let middle = (start + end) / 2;
    to.write_all(&bytes[start..middle])?;
    if let (Some(pause), true) = (manners.pause, is_package) {
        std::thread::sleep(pause);
    }
    to.write_all(&bytes[middle..end])
}

/// A desk with a package of about a megabyte in a folder of its own.
fn desk() -> (Publisher, PathBuf) {
    let desk = Publisher::new();
    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    })
    .take(1 << 20)
    .collect();
    let package = desk.offer(&stream(|e| drop(e.file("noise", &noise[..]).map(|_| ()))));
    let folder = desk.path().join("served");
    fs::create_dir(&folder).unwrap();
    for suffix in ["", ".minisig"] {
        fs::copy(format!("{}{suffix}", package.display()), folder.join(format!("{FILE}{suffix}"))).unwrap();
    }
    let sum = op_dbus::base::digest::Plain::of(&fs::read(&package).unwrap());
    fs::write(folder.join(format!("{FILE}.sha256")), sum).unwrap();
    (desk, folder)
}

const FILE: &str = "lamp-v1.0.0.btrfs.zst";

fn get(desk: &Publisher, url: &str) -> Ended {
    desk.run("op-install", &["install", url, "--dry-run"])
}

#[track_caller]
fn refused(ended: &Ended, code: i32, why: &str) {
    assert!(ended.code == code && ended.error().contains(why), "{why}: {ended:?}");
}

#[test]
fn a_download_goes_on_where_it_was_cut_off() {
    let (desk, folder) = desk();
    let whole = fs::metadata(folder.join(FILE)).unwrap().len();
    // Four parts in one run.
    let server = Server::start(&folder, &Manners { cut: Some(300_000), ..Manners::default() });
    assert_eq!(get(&desk, &server.url(FILE)).json()["trust"], "community");
    assert_eq!(server.packages().len(), usize::try_from(whole.div_ceil(300_000)).unwrap());
    assert!(server.packages()[1].ends_with("from Some(300000)"), "{:?}", server.packages());
    // Too many for one run: the next one goes on.
    let server = Server::start(&folder, &Manners { cut: Some(100_000), ..Manners::default() });
    let url = server.url(FILE);
    refused(&get(&desk, &url), 69, "try again: what came is kept");
    assert_eq!(server.packages().len(), 5);
    refused(&get(&desk, &url), 69, "of");
    assert_eq!(get(&desk, &url).json()["trust"], "community");
    assert!(server.packages()[5].ends_with("from Some(500000)"), "{:?}", server.packages());
    // A server that cannot go on begins again, and with one that never comes to the end it ends.
    let server = Server::start(&folder, &Manners { cut: Some(300_000), forgets: true, ..Manners::default() });
    refused(&get(&desk, &server.url(FILE)), 69, "");
    assert!(server.packages().len() <= 5 && server.packages().iter().all(|seen| seen.ends_with("from None")));
}

#[test]
fn what_servers_do() {
    let (desk, folder) = desk();
    let with = |manners: Manners| Server::start(&folder, &manners);
    let plain = with(Manners::default());
    assert_eq!(get(&desk, &format!("{}?token=x#y", plain.url(FILE))).json()["source"], plain.url(FILE));
    refused(&get(&desk, &plain.url("none-v1.0.0.btrfs.zst")), 69, "the server has no such file");
    refused(&get(&desk, &with(Manners { lies: Some(1 << 40), ..Manners::default() }).url(FILE)), 7, "larger than");
    refused(&get(&desk, &with(Manners { lies: Some(2 << 20), ..Manners::default() }).url(FILE)), 69, "cut off");
    let slow = with(Manners { pause: Some(Duration::from_secs(5)), ..Manners::default() });
    let started = std::time::Instant::now();
    let late = desk.run("op-install", &["--timeout", "1s", "install", &slow.url(FILE), "--dry-run"]);
    assert!(late.code == 69 && started.elapsed() < Duration::from_secs(5), "{late:?}");
    let led = with(Manners { leads_to: Some(plain.url("")), ..Manners::default() });
    assert_eq!(get(&desk, &led.url(FILE)).json()["trust"], "community");
    let circle = with(Manners { leads_to: Some("/again".into()), ..Manners::default() });
    assert_eq!(get(&desk, &circle.url(FILE)).code, 69);
    refused(&get(&desk, "http://127.0.0.1:1/x-v1.0.0.btrfs.zst"), 69, "cannot be reached");
    refused(&get(&desk, "ftp://127.0.0.1/x"), 64, "do not come over ftp");
    // What nobody signed is not taken from the open network, whatever is said.
    fs::remove_file(folder.join(format!("{FILE}.minisig"))).unwrap();
    let open = desk.run("op-install", &["install", &plain.url(FILE), "--allow-unsigned", "--dry-run"]);
    refused(&open, 7, "others could have changed it on the way");
    // Through a proxy, and past it.
    let proxy = with(Manners::default());
    fs::copy(desk.path().join(format!("{FILE}.minisig")), folder.join(format!("{FILE}.minisig"))).unwrap();
    let through = |no_proxy: &str| {
        let variables = [("http_proxy", &*format!("http://127.0.0.1:{}", proxy.port)), ("no_proxy", no_proxy)];
        desk.run_with("op-install", &["install", &plain.url(FILE), "--dry-run"], &variables).json()
    };
    through("127.0.0.1");
    assert_eq!(proxy.packages().len(), 0);
    through("");
    assert!(!proxy.packages().is_empty());
}

/// `openssl s_server` over a folder; gone when dropped.
struct Tls {
    child: Child,
    port: u16,
}

impl Tls {
    /// Makes a certificate for `host` in `desk` and serves `folder`.
    fn start(desk: &Path, folder: &Path, host: &str) -> Self {
        let (cert, key) = (desk.join(format!("{host}.crt")), desk.join(format!("{host}.key")));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=test", "-addext", &format!("subjectAltName={host}")])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&cert)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("openssl")
            .args(["s_server", "-WWW", "-quiet", "-accept", &format!("127.0.0.1:{port}")])
            .arg("-cert")
            .arg(&cert)
            .arg("-key")
            .arg(&key)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, port }
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn servers_prove_who_they_are() {
    let (desk, folder) = desk();
    let right = Tls::start(desk.path(), &folder, "IP:127.0.0.1");
    let wrong = Tls::start(desk.path(), &folder, "DNS:elsewhere.example");
    let get = |tls: &Tls, trusted: &str| {
        let certificates = desk.path().join(trusted).display().to_string();
        let url = format!("https://127.0.0.1:{}/{FILE}", tls.port);
        desk.run_with("op-install", &["install", &url, "--dry-run"], &[("SSL_CERT_FILE", &certificates)])
    };
    assert_eq!(get(&right, "IP:127.0.0.1.crt").json()["trust"], "community");
    refused(&get(&right, "DNS:elsewhere.example.crt"), 7, "certificate");
    refused(&get(&wrong, "DNS:elsewhere.example.crt"), 7, "certificate");
    refused(&get(&right, "missing.crt"), 1, "missing.crt");
    // An address with TLS that leads to one without is not followed.
    let open = Server::start(&folder, &Manners::default());
    fs::write(folder.join("moved"), "").unwrap();
    let led = Server::start(
        &folder,
        &Manners { leads_to: Some(format!("https://127.0.0.1:{}", right.port)), ..Manners::default() },
    );
    let certificates = desk.path().join("IP:127.0.0.1.crt").display().to_string();
    let url = led.url(FILE);
    let up = desk.run_with("op-install", &["install", &url, "--dry-run"], &[("SSL_CERT_FILE", &certificates)]);
    assert_eq!(up.json()["trust"], "community", "from open to TLS is fine");
    drop(open);
}
