package servers

// folders is the name of the working folders of the processes rung, with the number of the test
// process that owns them.
const folders = "quorumlock-server-"
