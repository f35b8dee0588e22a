//! A notebook's kernel, as JupyterLab's own pages talk to it: Jupyter's messages over a WebSocket, whatever that goes through.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message},
};
use uuid::Uuid;

#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error("the kernel's socket broke: {0}")]
    Socket(#[source] Box<tungstenite::Error>),
    #[error("the kernel's socket was closed")]
    Closed,
    #[error("the kernel sent what is no message: {0}")]
    Message(#[from] serde_json::Error),
    #[error("the cell failed: {0}")]
    Cell(String),
}

impl From<tungstenite::Error> for KernelError {
    fn from(error: tungstenite::Error) -> Self {
        Self::Socket(Box::new(error))
    }
}

/// Where a kernel's socket is. Who comes again with the same session is told what was said meanwhile.
pub fn path(kernel: &str, session: &str) -> String {
    format!("/api/kernels/{kernel}/channels?session_id={session}")
}

#[derive(Debug)]
pub struct Kernel<S> {
    socket: WebSocketStream<S>,
    session: String,
}

/// A cell, and what it has come to so far.
#[derive(Debug)]
pub struct Cell {
    id: String,
    pub printed: String,
    is_replied: bool,
    is_idle: bool,
}

impl Cell {
    pub fn is_over(&self) -> bool {
        self.is_replied && self.is_idle
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Kernel<S> {
    pub fn new(socket: WebSocketStream<S>, session: &str) -> Self {
        Self { socket, session: session.to_owned() }
    }

    async fn send(&mut self, kind: &str, content: Value) -> Result<String, KernelError> {
        let id = Uuid::new_v4().to_string();
        let message = json!({
            "header": {"msg_id": id, "msg_type": kind, "username": "", "session": self.session, "version": "5.3"},
            "parent_header": {}, "metadata": {}, "channel": "shell", "content": content,
        });
        self.socket.send(Message::text(message.to_string())).await?;
        Ok(id)
    }

    async fn next(&mut self) -> Result<Value, KernelError> {
        loop {
            match self.socket.next().await.ok_or(KernelError::Closed)?? {
                Message::Text(text) => return Ok(serde_json::from_str(&text)?),
                Message::Close(_) => return Err(KernelError::Closed),
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    /// A round trip to the kernel and back that runs nothing.
    ///
    /// # Errors
    /// If the socket ends before the answer.
    pub async fn info(&mut self) -> Result<(), KernelError> {
        let id = self.send("kernel_info_request", json!({})).await?;
        loop {
            let message = self.next().await?;
            if message["parent_header"]["msg_id"] == id.as_str() && message["header"]["msg_type"] == "kernel_info_reply"
            {
                return Ok(());
            }
        }
    }

    /// Has the kernel begin with a cell.
    ///
    /// # Errors
    /// If the socket is broken.
    pub async fn begin(&mut self, code: &str) -> Result<Cell, KernelError> {
        let content = json!({"code": code, "silent": false, "store_history": false, "user_expressions": {},
            "allow_stdin": false, "stop_on_error": true});
        let id = self.send("execute_request", content).await?;
        Ok(Cell { id, printed: String::new(), is_replied: false, is_idle: false })
    }

    /// Reads the next message, and what it says of the cell.
    ///
    /// # Errors
    /// If the socket ends, or the cell fails.
    pub async fn read(&mut self, cell: &mut Cell) -> Result<(), KernelError> {
        let message = self.next().await?;
        if message["parent_header"]["msg_id"] != cell.id.as_str() {
            return Ok(());
        }
        let content = &message["content"];
        match message["header"]["msg_type"].as_str().unwrap_or_default() {
            "stream" => cell.printed += content["text"].as_str().unwrap_or_default(),
            "execute_reply" if content["status"] != "ok" => return Err(KernelError::Cell(content.to_string())),
            "execute_reply" => cell.is_replied = true,
            "status" => cell.is_idle = content["execution_state"] == "idle",
            _ => {}
        }
        Ok(())
    }

    /// Runs a cell; what it printed.
    ///
    /// # Errors
    /// If the socket ends, or the cell fails.
    pub async fn run(&mut self, code: &str) -> Result<String, KernelError> {
        let mut cell = self.begin(code).await?;
        while !cell.is_over() {
            self.read(&mut cell).await?;
        }
        Ok(cell.printed.trim().to_owned())
    }
}
