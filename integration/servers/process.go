package servers

// folders is how the working folders of the processes rung are called: with the
// number of the test process that they belong to.
const folders = "quorumlock-server-"
