//! A graph as SVG, drawn here: no script, no font and no server is needed to look at it.

use std::fmt::Write;

use super::diagram::{Way, order, side_ways, summary, ways};
use super::{EdgeTarget, Graph, Kind, NodeIx};

/// Size of a box, and the gaps around it [px].
const WIDTH: usize = 250;
const HEIGHT: usize = 44;
const GAP_X: usize = 60;
const GAP_Y: usize = 56;
const MARGIN: usize = 30;
/// Characters of a label that fit on a line.
const SHOWN: usize = 38;

const STYLE: &str = "text{font:12px ui-sans-serif,sans-serif;fill:#1c1c1c}.name{font-weight:600}\
.does{fill:#555;font-size:11px}.when{fill:#444;font-size:10px;paint-order:stroke;stroke:#fff;stroke-width:3px}\
rect{fill:#f6f7f9;stroke:#5b6b7f}.ask{fill:#fff4d6}.model{fill:#e6f0ff}.sub{fill:#eaf6ea}\
path{fill:none;stroke:#5b6b7f}.side{stroke-dasharray:4 3}";

/// The graph as one SVG document: rows in the order a run meets the nodes, dashed ways for errors, repeats and limits.
pub fn svg(graph: &Graph) -> String {
    let places = Places::new(graph);
    let (width, height) = places.size();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\"><title>{}</title><style>{STYLE}</style>\n\
         <defs><marker id=\"to\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" style=\"fill:#5b6b7f;stroke:none\"/></marker></defs>\n",
        escaped(&graph.name)
    );
    for start in &graph.start {
        places.line(&mut out, None, Some(*start), "", false);
    }
    for (number, node) in graph.nodes.iter().enumerate() {
        for (when, target) in ways(node) {
            places.line(
                &mut out,
                Some(number),
                target_of(target),
                &when.unwrap_or_default(),
                false,
            );
        }
        for (label, target) in side_ways(node) {
            let to = target.map_or(Some(number), target_of);
            places.line(&mut out, Some(number), to, &label, true);
        }
    }
    if let Some(node) = graph.limits.on_limit {
        places.line(&mut out, None, Some(node), "a limit", true);
    }
    for (number, node) in graph.nodes.iter().enumerate() {
        let class = match node.kind {
            Kind::Approval(_) => "ask",
            Kind::Agent(_) => "model",
            Kind::Graph(_) => "sub",
            _ => "work",
        };
        let (x, y) = places.of[number];
        boxed(&mut out, (x, y), class, &node.name, &summary(node));
    }
    let (x, y) = places.start;
    boxed(&mut out, (x, y), "work", "start", "");
    let (x, y) = places.end;
    boxed(&mut out, (x, y), "work", "end", "");
    out.push_str("</svg>\n");
    out
}

fn target_of(target: EdgeTarget) -> Option<NodeIx> {
    match target {
        EdgeTarget::End => None,
        EdgeTarget::Node(node) => Some(node),
    }
}

/// Upper left corners [px].
struct Places {
    of: Vec<(usize, usize)>,
    start: (usize, usize),
    end: (usize, usize),
    columns: usize,
}

impl Places {
    /// Each node one row below the lowest of those that lead to it; ways back do not count.
    fn new(graph: &Graph) -> Self {
        let order = order(graph);
        let mut position = vec![0; graph.nodes.len()];
        order.iter().enumerate().for_each(|(place, node)| position[*node] = place);
        let mut row = vec![1; graph.nodes.len()];
        for from in &order {
            let node = &graph.nodes[*from];
            let side: Vec<Way> =
                side_ways(node).into_iter().filter_map(|(_, to)| Some((None, to?))).collect();
            for (_, target) in ways(node).into_iter().chain(side) {
                if let Some(to) = target_of(target).filter(|to| position[*to] > position[*from]) {
                    row[to] = row[to].max(row[*from] + 1);
                }
            }
        }
        let rows = row.iter().copied().max().unwrap_or(0);
        let mut taken = vec![0; rows + 2];
        let at = |column: usize, row: usize| {
            (MARGIN + column * (WIDTH + GAP_X), MARGIN + row * (HEIGHT + GAP_Y))
        };
        let mut of = vec![(0, 0); graph.nodes.len()];
        for node in &order {
            of[*node] = at(taken[row[*node]], row[*node]);
            taken[row[*node]] += 1;
        }
        let columns = taken.iter().copied().max().unwrap_or(1).max(1);
        Self { of, start: at(0, 0), end: at(0, rows + 1), columns }
    }

    fn size(&self) -> (usize, usize) {
        // Ways back run on the right.
        let width = 2 * MARGIN + self.columns * (WIDTH + GAP_X) + 2 * GAP_X;
        (width, self.end.1 + HEIGHT + MARGIN)
    }

    /// A way from a node (`None`: the start) to a node (`None`: the end).
    fn line(
        &self,
        out: &mut String,
        from: Option<NodeIx>,
        to: Option<NodeIx>,
        label: &str,
        side: bool,
    ) {
        let (x1, y1) = from.map_or(self.start, |node| self.of[node]);
        let (x2, y2) = to.map_or(self.end, |node| self.of[node]);
        let class = if side { " class=\"side\"" } else { "" };
        let (path, at) = if y2 > y1 {
            let (x1, y1, x2) = (x1 + WIDTH / 2, y1 + HEIGHT, x2 + WIDTH / 2);
            let middle = (y1 + y2) / 2;
            let path = format!("M{x1} {y1}C{x1} {middle} {x2} {middle} {x2} {}", y2 - 2);
            (path, ((x1 + 3 * x2) / 4 + 6, y2 - 12))
        } else {
            let (x1, y1, y2) = (x1 + WIDTH, y1 + HEIGHT / 2, y2 + HEIGHT / 2 - 8);
            let (x2, bow) = (x2 + WIDTH, x1.max(x2 + WIDTH) + GAP_X);
            (format!("M{x1} {y1}C{bow} {y1} {bow} {y2} {} {y2}", x2 + 2), (bow - 30, (y1 + y2) / 2))
        };
        let _ = writeln!(out, "<path{class} d=\"{path}\" marker-end=\"url(#to)\"/>");
        if !label.is_empty() {
            let (x, y) = at;
            let _ =
                writeln!(out, "<text class=\"when\" x=\"{x}\" y=\"{y}\">{}</text>", shown(label));
        }
    }
}

fn boxed(out: &mut String, (x, y): (usize, usize), class: &str, name: &str, does: &str) {
    let round = if does.is_empty() { HEIGHT / 2 } else { 6 };
    let _ = writeln!(
        out,
        "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"{round}\"/>"
    );
    let (left, first) = (x + 12, y + if does.is_empty() { 27 } else { 18 });
    let _ = writeln!(out, "<text class=\"name\" x=\"{left}\" y=\"{first}\">{}</text>", shown(name));
    if !does.is_empty() {
        let second = y + 34;
        let _ = writeln!(
            out,
            "<text class=\"does\" x=\"{left}\" y=\"{second}\">{}</text>",
            shown(does)
        );
    }
}

/// As much of a label as fits; all of it when pointed at.
fn shown(text: &str) -> String {
    if text.chars().count() <= SHOWN {
        return escaped(text);
    }
    let short: String = text.chars().take(SHOWN - 1).chain(['…']).collect();
    format!("{}<title>{}</title>", escaped(&short), escaped(text))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
