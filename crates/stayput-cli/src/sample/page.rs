//! The shop's page.

use askama::Template;

/// What the page shows.
#[derive(Template)]
#[template(path = "shop.html")]
pub(super) struct Page<'a> {
    pub(super) user: Option<&'a str>,
    pub(super) server: &'a str,
    pub(super) pid: u32,
    pub(super) visits: u64,
    pub(super) cart: Vec<String>,
    pub(super) cookies_are_dropped: bool,
}

impl Page<'_> {
    pub(super) fn html(&self) -> String {
        self.render().expect("the template writes to a string")
    }

    /// Each server has its colour, so that a move is seen at once.
    fn hue(&self) -> u32 {
        let number = self.server.rsplit('-').next().and_then(|digits| digits.parse::<u32>().ok());
        number.unwrap_or(1) * 137 % 360
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_type_is_shown_as_text() {
        let page = Page {
            user: Some("<script>alert(1)</script>"),
            server: "sample-1",
            pid: 1,
            visits: 0,
            cart: vec!["\"><img src=x>".to_owned()],
            cookies_are_dropped: false,
        };
        let html = page.html();
        assert!(!html.contains("<script>") && !html.contains("<img"), "{html}");
    }
}
