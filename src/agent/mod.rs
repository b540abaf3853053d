//! Assembly, and the one door for every edge.
