//! A client that costs as little as it can.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub const CONNECTIONS: usize = 16;
const WARM: Duration = Duration::from_secs(2);

/// One keep-alive connection that reads as little of HTTP as it must.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: Vec::with_capacity(1024) })
    }

    /// The body of the answer; an error unless it is 200.
    pub async fn ask(&mut self, method: &str, path: &str) -> Result<String> {
        let (status, body) = self.answer(method, path).await?;
        if status != 200 {
            bail!("answered {status}: {body}");
        }
        Ok(body)
    }

    /// Status and body of the answer.
    pub async fn answer(&mut self, method: &str, path: &str) -> Result<(u16, String)> {
        let length = if method == "POST" { "content-length: 0\r\n" } else { "" };
        let request = format!("{method} {path} HTTP/1.1\r\nhost: bench\r\n{length}\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server hung up");
            }
            let Some(head) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let text = std::str::from_utf8(&self.buffer[..head])?;
            let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).context("not HTTP")?;
            let length = text.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            let length = length.context("an answer without its length")?;
            while self.buffer.len() < head + 4 + length {
                if self.stream.read_buf(&mut self.buffer).await? == 0 {
                    bail!("the server hung up");
                }
            }
            let body = String::from_utf8_lossy(&self.buffer[head + 4..head + 4 + length]).into_owned();
            return Ok((status, body));
        }
    }
}

/// Requests a second on one object, over all connections; and how many there were, those to warm up included.
pub async fn rate(address: SocketAddr, method: &'static str, path: &'static str, seconds: u64) -> Result<(f64, u64)> {
    let (done, all) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    let (from, until) = (Instant::now() + WARM, Instant::now() + WARM + Duration::from_secs(seconds));
    for _ in 0..CONNECTIONS {
        let (done, all) = (Arc::clone(&done), Arc::clone(&all));
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            while Instant::now() < until {
                connection.ask(method, path).await?;
                all.fetch_add(1, Ordering::Relaxed);
                if Instant::now() >= from {
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let a_second = done.load(Ordering::Relaxed) as f64 / (until - from).as_secs_f64();
    Ok((a_second, all.load(Ordering::Relaxed)))
}

/// Milliseconds that an answer takes.
pub async fn timed(connection: &mut Connection, method: &str, path: &str) -> Result<f64> {
    let begun = Instant::now();
    connection.ask(method, path).await?;
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}
