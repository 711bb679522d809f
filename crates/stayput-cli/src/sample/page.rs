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
        [220, 150, 15, 280, 190, 330][number.unwrap_or(1).wrapping_sub(1) as usize % 6]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page<'static> {
        Page {
            user: None,
            server: "sample-1",
            pid: 1,
            visits: 0,
            cart: Vec::new(),
            cookies_are_dropped: false,
        }
    }

    #[test]
    fn what_users_type_is_shown_as_text() {
        let cart = vec!["\"><img src=x>".to_owned()];
        let html = Page { user: Some("<script>alert(1)</script>"), cart, ..page() }.html();
        assert!(!html.contains("<script>") && !html.contains("<img"), "{html}");
    }

    #[test]
    fn a_page_whose_cookies_browsers_drop_says_so() {
        assert!(!page().html().contains("drops this shop's cookies"));
        assert!(Page { cookies_are_dropped: true, ..page() }.html().contains("drops this shop's cookies"));
    }
}
