pub struct Cluster;
