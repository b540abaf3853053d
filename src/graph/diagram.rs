//! Pictures of a graph, as text.

use std::fmt::Write;

use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::DfsPostOrder;

use super::{EdgeTarget, Graph, Kind, Node, NodeIx, Pause, Route, WaitSpec};

/// The graph as a Mermaid flowchart: dotted ways are those of errors, repeats and limits.
pub fn mermaid(graph: &Graph) -> String {
    let mut out = String::from("flowchart TD\n    start([start])\n");
    for node in &graph.nodes {
        let label = escaped(&format!("{}\n{}", node.name, summary(node))).replace('\n', "<br/>");
        let (open, close) = shape(&node.kind);
        line(&mut out, &format!("n_{}{open}\"{label}\"{close}", node.name));
    }
    line(&mut out, "finish([end])");
    let id = |target: &EdgeTarget| match target {
        EdgeTarget::End => "finish".to_owned(),
        EdgeTarget::Node(node) => format!("n_{}", graph.nodes[*node].name),
    };
    for start in &graph.start {
        line(&mut out, &format!("start --> {}", id(&EdgeTarget::Node(*start))));
    }
    for node in &graph.nodes {
        for (when, target) in ways(node) {
            let label = when.map_or(String::new(), |when| format!("|\"{}\"|", escaped(&when)));
            line(&mut out, &format!("n_{} -->{label} {}", node.name, id(&target)));
        }
        for (label, target) in side_ways(node) {
            let target = target.map_or(format!("n_{}", node.name), |target| id(&target));
            let label = escaped(&label);
            line(&mut out, &format!("n_{} -. \"{label}\" .-> {target}", node.name));
        }
    }
    if let Some(node) = graph.limits.on_limit {
        line(&mut out, "limit([a limit])");
        line(&mut out, &format!("limit -.-> n_{}", graph.nodes[node].name));
    }
    out
}

/// The graph as plain text, each node with its ways on, in the order a run meets them.
pub fn ascii(graph: &Graph) -> String {
    let order = order(graph);
    let mut place = vec![0; graph.nodes.len()];
    order.iter().enumerate().for_each(|(position, node)| place[*node] = position);
    let width = graph.nodes.iter().map(|node| node.name.len()).max().unwrap_or(0);

    let mut out = String::from("start\n");
    let starts: Vec<Way> = graph.start.iter().map(|node| (None, EdgeTarget::Node(*node))).collect();
    ways_on(&mut out, graph, &starts, None, &place);
    for (position, number) in order.iter().enumerate() {
        let node = &graph.nodes[*number];
        let _ = writeln!(out, "{:width$}  {}", node.name, summary(node));
        for (label, target) in side_ways(node) {
            let target = target.map_or("again", |target| name(graph, target));
            let _ = writeln!(out, "  . {label} --> {target}");
        }
        ways_on(&mut out, graph, &ways(node), Some(position), &place);
    }
    out.push_str("end\n");
    if let Some(node) = graph.limits.on_limit {
        let _ = writeln!(out, "\na limit --> {}", graph.nodes[node].name);
    }
    out
}

/// A condition, where there is one, and where it leads.
pub(super) type Way = (Option<String>, EdgeTarget);

/// The ordinary ways on.
pub(super) fn ways(node: &Node) -> Vec<Way> {
    match &node.route {
        Route::Always(targets) => targets.iter().map(|target| (None, *target)).collect(),
        Route::First(branches) => branches
            .iter()
            .map(|(when, target)| (Some(when.clone().unwrap_or("else".to_owned())), *target))
            .collect(),
    }
}

/// Ways that are not the ordinary way on: errors, and the repeat, which leads back to the node (`None`).
pub(super) fn side_ways(node: &Node) -> Vec<(String, Option<EdgeTarget>)> {
    let errors = node.on_error.iter().map(|route| {
        let label = match &route.when {
            Some(when) => format!("error: {when}"),
            None => "error".to_owned(),
        };
        (label, Some(route.to.map_or(EdgeTarget::End, EdgeTarget::Node)))
    });
    let repeat = node
        .repeat
        .iter()
        .map(|repeat| (format!("every {} until {}", span(repeat.every_ms), repeat.until), None));
    repeat.chain(errors).collect()
}

/// What a node does, in a few words.
pub(super) fn summary(node: &Node) -> String {
    let does = match &node.kind {
        Kind::Tool(call) => format!("tool {}", call.tool),
        Kind::Agent(agent) => format!("agent {}", agent.prompt),
        Kind::Approval(approval) => format!("approval {}", approval.ask),
        Kind::Foreach(each) => format!("foreach {}: tool {}", each.items, each.call.tool),
        Kind::Wait(WaitSpec::For(ms)) => format!("wait {}", span(*ms)),
        Kind::Wait(WaitSpec::Signal { name, .. }) => format!("wait for {name}"),
        Kind::Set(values) => {
            let names: Vec<&str> = values.keys().map(String::as_str).collect();
            format!("set {}", names.join(", "))
        }
        Kind::Graph(sub) => format!("graph {}", sub.graph.name),
    };
    let mut text = match &node.writes {
        Some(channel) => format!("{does} => {channel}"),
        None => does,
    };
    match &node.join {
        Some(join) if join.need == join.after.len() => text.push_str(", joins all"),
        Some(join) => {
            let _ = write!(text, ", joins {} of {}", join.need, join.after.len());
        }
        None => {}
    }
    match node.pause {
        Some(Pause::Before) => text.push_str(", pause before"),
        Some(Pause::After) => text.push_str(", pause after"),
        None => {}
    }
    if node.defer {
        text.push_str(", deferred");
    }
    text
}

fn shape(kind: &Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Tool(_) => ("[", "]"),
        Kind::Agent(_) => ("(", ")"),
        Kind::Approval(_) => ("{{", "}}"),
        Kind::Foreach(_) => ("[[", "]]"),
        Kind::Wait(_) => ("[/", "/]"),
        Kind::Set(_) => (">", "]"),
        Kind::Graph(_) => ("[[", "]]"),
    }
}

/// Nodes in the order a run meets them first; loops lead back.
pub(super) fn order(graph: &Graph) -> Vec<NodeIx> {
    let mut ways_of: DiGraph<(), ()> = DiGraph::new();
    for _ in &graph.nodes {
        ways_of.add_node(());
    }
    let start = ways_of.add_node(());
    // A walk takes the newest edge first and the result is turned round: the last of the ways comes first, as written.
    for node in &graph.start {
        ways_of.add_edge(start, NodeIndex::new(*node), ());
    }
    for (number, node) in graph.nodes.iter().enumerate() {
        let side = side_ways(node).into_iter().filter_map(|(_, target)| target);
        for target in ways(node).into_iter().map(|(_, target)| target).chain(side) {
            if let EdgeTarget::Node(target) = target {
                ways_of.add_edge(NodeIndex::new(number), NodeIndex::new(target), ());
            }
        }
    }
    let mut walk = DfsPostOrder::new(&ways_of, start);
    let mut order = Vec::with_capacity(graph.nodes.len());
    while let Some(node) = walk.next(&ways_of) {
        order.push(node.index());
    }
    order.reverse();
    order.retain(|node| *node < graph.nodes.len());
    // What only a limit leads to comes last.
    let mut met = vec![false; graph.nodes.len()];
    order.iter().for_each(|node| met[*node] = true);
    order.extend((0..graph.nodes.len()).filter(|node| !met[*node]));
    order
}

fn ways_on(
    out: &mut String,
    graph: &Graph,
    ways: &[Way],
    position: Option<usize>,
    place: &[usize],
) {
    let next = position.map_or(0, |position| position + 1);
    let is_next = |target: &EdgeTarget| match target {
        EdgeTarget::End => next == graph.nodes.len(),
        EdgeTarget::Node(node) => place[*node] == next,
    };
    if let [(None, target)] = ways
        && is_next(target)
    {
        out.push_str("  |\n  v\n");
        return;
    }
    for (when, target) in ways {
        let when = when.as_ref().map_or(String::new(), |when| format!("{when} "));
        let back = match target {
            EdgeTarget::Node(node) if place[*node] < next => " (back)",
            _ => "",
        };
        let _ = writeln!(out, "  +- {when}--> {}{back}", name(graph, *target));
    }
    out.push('\n');
}

fn name(graph: &Graph, target: EdgeTarget) -> &str {
    match target {
        EdgeTarget::End => "end",
        EdgeTarget::Node(node) => &graph.nodes[node].name,
    }
}

/// A span of time in its largest whole unit.
fn span(ms: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let whole =
        units.into_iter().find(|(unit_ms, _)| ms >= *unit_ms && ms.is_multiple_of(*unit_ms));
    whole.map_or(format!("{ms}ms"), |(unit_ms, unit)| format!("{}{unit}", ms / unit_ms))
}

/// Text that Mermaid takes for text.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("#quot;"),
            '<' => out.push_str("#lt;"),
            '>' => out.push_str("#gt;"),
            '#' => out.push_str("#35;"),
            _ => out.push(c),
        }
    }
    out
}

fn line(out: &mut String, text: &str) {
    let _ = writeln!(out, "    {text}");
}
