package redigo

// An Option sets how [New] makes a [Node].
type Option func(*config)

type config struct{ name string }

// WithName sets what [Node.Name] returns, the label of the server in reports,
// errors and metrics: its address, or what people call it, never a password.
// Names must differ within a quorum. The default, also for an empty name, is
// made of the pool's address in memory, which tells two pools apart and no
// more.
func WithName(name string) Option {
	return func(c *config) { c.name = name }
}
