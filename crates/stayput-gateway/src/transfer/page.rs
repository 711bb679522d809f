//! A page on its way to a client whose links carry the route.
//!
//! It waits for nothing but a tag's end: what the upstream has sent up to there goes on at once.

use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::{Ended, Transfer};
use crate::answer::Answer;
use crate::body::Body;
use crate::buffer::Buffer;
use crate::links::{Links, Page};
use crate::refusal::Refusal;

impl Transfer<'_> {
    /// Sends the head in `out`, and the page behind it.
    #[expect(clippy::too_many_arguments, reason = "they are what `download` is working with")]
    pub(super) async fn pass_page(
        &self,
        links: Links<'_>,
        answer: &Answer,
        body: &mut Body,
        from: &mut ReadHalf<'_>,
        to: &mut WriteHalf<'_>,
        input: &mut Buffer,
        out: &mut Buffer,
    ) -> Result<(), Ended> {
        let mut page = Page::new(links);
        let mut has_ended = false;
        loop {
            let (judged, data) = body
                .accept_bare(input.filled_mut())
                .map_err(|_| self.refused_or_aborted(Refusal::AnswerMalformed))?;
            page.write(&input.filled()[..data]);
            input.consume(judged);
            has_ended |= body.is_complete();
            if has_ended {
                page.end();
            }
            page.take(|bytes| self.put_chunk(bytes, has_ended, out));
            if self.progress.status.get().is_none() {
                self.progress.status.set(Some(answer.status));
                self.progress.headed.set(Some(self.clock.last_read()));
                self.watch.set_at(self.clock.last_read() + self.timeouts.body);
            }
            self.send(to, out.filled()).await?;
            out.clear();
            if has_ended {
                return Ok(());
            }
            // The small buffer it came in, so that a page takes no more memory than that, a tag and what is put in.
            has_ended = !self.fill(from, input, body).await?;
        }
    }

    /// Writes bytes as this client takes bodies whose length nobody knows.
    fn put_chunk(&self, bytes: &[u8], is_last: bool, out: &mut Buffer) {
        if self.request.is_1_0 {
            return out.put(bytes);
        }
        // An empty one would be the end.
        if !bytes.is_empty() {
            out.put_all(&[format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"]);
        }
        if is_last {
            out.put(b"0\r\n\r\n");
        }
    }
}
