/*
 * Shared locks, without timers: N nodes, a quorum of Q, W processes that want one lock,
 * some of them to read. README.md beside this file says what is modelled, what is not, and
 * what the variants are. It stands for
 *
 *   backend/lua/acquireshared.lua, releaseshared.lua, rollbackshared.lua and
 *   extendshared.lua, with invite.lua, share.lua and unshare.lua: the inlines acquireShared,
 *   releaseShared, rollbackShared, downgrade, invite
 *   backend/lua/acquire.lua, release.lua, rollback.lua, with notify.lua: the inlines
 *   acquire, release, rollback, notify
 *
 * A script and its reply are one step on one node. Requests reach the nodes in order, and
 * those of several processes in any order. queue.pml has more of what can happen to a
 * waiter; here each process begins with its ticket, and sends no plain attempt.
 *
 * It asserts that nobody is inside beside a writer (enter), and that no wake-up is lost:
 * Monitor fails if nothing is under way, everybody sleeps without a notification or has
 * finished, and somebody sleeps.
 */

#ifndef N
#define N 3             /* nodes */
#endif
#ifndef Q
#define Q 2             /* how many of them are a quorum */
#endif
#ifndef W
#define W 3             /* processes, at most 4; a lower number began to wait earlier */
#endif
#ifndef READERS
#define READERS 10      /* which of them read: a mask, BIT(1) is the first */
#endif

/* What may happen; -D…=1 allows it. */
#ifndef GIVE
#define GIVE 0          /* anybody may give up between attempts */
#endif
#ifndef DIE
#define DIE 0           /* so many holders may die; what they have expires */
#endif
#ifndef CRASH
#define CRASH 0         /* a sleeper that nobody has notified may die */
#endif
#ifndef DOWNGRADE
#define DOWNGRADE 0     /* a writer that holds the lock may become a reader */
#endif
#ifndef REPLY
#define REPLY 0         /* the reply to an acquire may be lost, and the acquire may be sent again */
#endif
#ifndef REQUEST
#define REQUEST 0       /* an acquire may be lost */
#endif
#ifndef LATE
#define LATE 0          /* an acquire may arrive after its attempt */
#endif
#ifndef REPEAT
#define REPEAT 0        /* the reply to a deletion may be lost, so that it is repeated */
#endif
#ifndef LOSSES
#define LOSSES 1        /* how many messages may be lost, late or repeated in all */
#endif
#ifndef ATONCE
#define ATONCE 0        /* fewer states: a lost attempt is rolled back on all nodes in one step */
#endif
#ifndef REVERSED
#define REVERSED 0      /* the queue of the last node has the opposite order */
#endif

/* Bugs, put in on purpose; each must be found. */
#ifndef BAD
#define BAD 0
#endif
#define TWICE     (BAD == 1)    /* a repeated acquire counts its reader twice */
#define SKIPS     (BAD == 2)    /* a notification skips a writer that has a reader behind it */
#define OUTLIVES  (BAD == 3)    /* a release leaves the key the life of the reader that is gone */
#define TAKESOLD  (BAD == 4)    /* the first reader takes a stale set for a live one */
#define FREES     (BAD == 5)    /* a release frees the lock although others read */
#define BARGES    (BAD == 6)    /* a reader joins where a writer has the lock */

#define BIT(i)   (1 << (i))
#define ALL      (BIT(N) - 1)
#define SPARE    (N - Q)        /* more than so many are enough to block */
#define COUNT(m) (((m) & 1) + (((m) >> 1) & 1) + (((m) >> 2) & 1))
#define READS(v) ((READERS >> (v)) & 1)

/* What a lock holds. Two tokens are enough to tell an attempt from the one before it. */
#define FREE        0
#define SHARED      1           /* ~shared: the readers are in the set */
#define TOKEN(g)    (8 * w + (g))
#define RESERVED(v) (8 * (v) + 5)
#define OWNER(t)    ((t) >> 3)
#define LATEGEN     3           /* an acquire that arrives late */
#define NOWHERE     4           /* a token that no lock holds */
/* A token in the set of readers. */
#define MEMBER(g)   ((g) == NOWHERE -> 0 : 1 << (3 * (w - 1) + (g) - 1))
#define GHOST       (1 << 12)

byte lock[N];           /* what the lock holds on each node */
short members[N];       /* the set of readers: may be there without the lock */
short expired[N];       /* those whose time is over; they are in the set yet */
byte queue[N];          /* whose tickets are in its queue: BIT(w) */
byte calls[5];          /* of each process: the nodes that have notified it, and it has not noticed */
byte asleep;            /* processes that wait to be notified */
byte idle;              /* processes that sleep or have finished, with nothing under way */
byte writing, reading;  /* how many hold the lock */
byte losses, deaths;

#define LOWEST(m)  ((m) & 2 -> 1 : ((m) & 4 -> 2 : ((m) & 8 -> 3 : 4)))
#define HIGHEST(m) ((m) & 16 -> 4 : ((m) & 8 -> 3 : ((m) & 4 -> 2 : 1)))
#define FIRST      (REVERSED && j == N-1 -> HIGHEST(queue[j]) : LOWEST(queue[j]))
#define LIVING     (members[j] & ~expired[j])

/* The scripts, on node j, for the process w. */

inline enqueue() { queue[j] = queue[j] | BIT(w) }
inline dequeue() { queue[j] = queue[j] & ~BIT(w) }

/* notify.lua: a ticket of a reader is like any other here. */
inline notify() {
	if
	:: SKIPS && queue[j] && !READS(FIRST) && (queue[j] & READERS) -> queue[j] = queue[j] & ~BIT(FIRST)
	:: else
	fi;
	if
	:: queue[j] -> lock[j] = RESERVED(FIRST);
		queue[j] = queue[j] & ~BIT(FIRST);
		calls[OWNER(lock[j])] = calls[OWNER(lock[j])] | BIT(j)
	:: else -> lock[j] = FREE
	fi
}

/* invite.lua, of a lock that is shared: the readers at the head of the queue are notified. The
 * caller's own ticket goes with them. */
inline invite() {
	do
	:: queue[j] && READS(FIRST) ->
		if
		:: FIRST != w -> calls[FIRST] = calls[FIRST] | BIT(j)
		:: else
		fi;
		queue[j] = queue[j] & ~BIT(FIRST)
	:: else -> break
	od
}

inline acquire(g) {
	if
	:: lock[j] == TOKEN(g)
	:: lock[j] == FREE || lock[j] == RESERVED(w) -> lock[j] = TOKEN(g); dequeue()
	:: else -> enqueue()
	fi
}

/* What is granted is in members, and the lock is shared. */
#define JOINED(g) (lock[j] == SHARED && (LIVING & MEMBER(g)))
inline join(g) {
	members[j] = members[j] | MEMBER(g); expired[j] = expired[j] & ~MEMBER(g); dequeue()
}
inline acquireShared(g) {
	if
	:: JOINED(g) -> members[j] = (TWICE -> members[j] | GHOST : members[j])
	:: !JOINED(g) && (lock[j] == SHARED || (BARGES && lock[j] != FREE && lock[j] != RESERVED(OWNER(lock[j])))) ->
		enqueue(); invite();
		if
		:: !(queue[j] & BIT(w)) -> join(g); lock[j] = SHARED
		:: else
		fi
	:: lock[j] == FREE || lock[j] == RESERVED(w) ->
		members[j] = (TAKESOLD -> members[j] : 0); expired[j] = 0;
		lock[j] = SHARED; join(g); invite()
	:: else -> enqueue()
	fi
}

/* A token leaves the set; the lock holds the token itself if a downgrade has not arrived. */
#define HELD(g) (lock[j] == TOKEN(g) || lock[j] == SHARED && (members[j] & MEMBER(g)))
inline leaveSet(g) {
	members[j] = members[j] & ~MEMBER(g); expired[j] = expired[j] & ~MEMBER(g);
	members[j] = (OUTLIVES && LIVING -> members[j] | GHOST : members[j]);
	if
	:: FREES || !(LIVING & ~(OUTLIVES -> GHOST : 0)) || lock[j] != SHARED -> members[j] = 0; expired[j] = 0; lock[j] = FREE
	:: else
	fi
}

/* release.lua and releaseshared.lua, with the ticket or without it. */
inline release(g, ticket) {
	queue[j] = (ticket -> queue[j] & ~BIT(w) : queue[j]);
	if
	:: lock[j] == TOKEN(g) || lock[j] == FREE || ticket && lock[j] == RESERVED(w) -> notify()
	:: ticket && lock[j] == SHARED -> invite()
	:: else
	fi
}
inline releaseShared(g, ticket) {
	queue[j] = (ticket -> queue[j] & ~BIT(w) : queue[j]);
	if
	:: HELD(g) -> leaveSet(g)
	:: else
	fi;
	if
	:: lock[j] == FREE || ticket && lock[j] == RESERVED(w) -> notify()
	:: ticket && lock[j] == SHARED -> invite()
	:: else
	fi
}

/* rollback.lua and rollbackshared.lua. */
inline rollback(g, calling) {
	if
	:: lock[j] == TOKEN(g) && calling -> dequeue(); notify()
	:: lock[j] == TOKEN(g) && !calling -> lock[j] = FREE
	:: else
	fi;
	enqueue()
}
inline rollbackShared(g, calling) {
	if
	:: HELD(g) -> leaveSet(g);
		if :: lock[j] == FREE && calling -> dequeue(); notify() :: else fi
	:: else
	fi;
	enqueue()
}

/* extendshared.lua, of a lock that the token has for itself. Where it does not have the lock, its
 * ticket leaves the queue. */
inline downgrade(g) {
	if
	:: lock[j] == TOKEN(g) -> lock[j] = SHARED; members[j] = MEMBER(g); expired[j] = 0; invite()
	:: else -> releaseShared(NOWHERE, 1)
	fi
}

/* The time of a dead holder is over on node j. Those queued there know when that is. */
inline expire(g) {
	if
	:: lock[j] == TOKEN(g) || lock[j] == RESERVED(w) -> lock[j] = FREE; tell()
	:: lock[j] == SHARED && (members[j] & MEMBER(g)) ->
		expired[j] = expired[j] | MEMBER(g);
		if :: !LIVING -> lock[j] = FREE; tell() :: else fi
	:: else
	fi
}
inline tell() {
	k = 1; do :: k <= W -> calls[k] = ((queue[j] & BIT(k)) -> calls[k] | BIT(j) : calls[k]); k++ :: else -> break od; k = 0
}

inline sendAcquire(g) { if :: READS(w) -> acquireShared(g) :: else -> acquire(g) fi }
inline sendRelease(g, ticket) { if :: READS(w) -> releaseShared(g, ticket) :: else -> release(g, ticket) fi }
inline sendRollback(g, calling) { if :: READS(w) -> rollbackShared(g, calling) :: else -> rollback(g, calling) fi }

/* Phases of a process. */
#define AWAKE  0        /* about to try */
#define TRY    1        /* an attempt is under way */
#define ASLEEP 2
#define HOLDS  3
#define UNLOCK 4        /* releases */
#define LEAVE  5        /* gives up */
#define EXPIRES 6       /* has died as a holder */
#define DONE   7

/* One owner, seen on so many nodes that nobody else can win. */
#define SAME(a, b) ((a) < N && (b) < N && seen[(a) % N] && seen[(a) % N] == seen[(b) % N])
#define OWNED (SPARE == 0 -> refused != 0 : SAME(0, 1) || SAME(0, 2) || SAME(1, 2))
#define SEESREADERS (seen[0] == SHARED || seen[N/2] == SHARED || seen[N-1] == SHARED)

inline enter() {
	assert(writing == 0);
	if
	:: READS(w) -> reading++
	:: else -> assert(reading == 0); writing++
	fi
}
inline leaves() { if :: READS(w) || downgraded -> reading-- :: else -> writing-- fi }

inline forget() {
	got = 0; unknown = 0; refused = 0;
	k = 0; do :: k < N -> seen[k] = 0; k++ :: else -> break od; k = 0
}

#define LOSES(what) ((what) && losses < LOSSES)

/* The end of each step: j is no part of the state, and Monitor sees who is idle. */
inline done() {
	j = 0;
	asleep = (phase == ASLEEP -> asleep | BIT(w) : asleep & ~BIT(w));
	idle = ((phase == ASLEEP || phase == DONE) && !back && !repeats && !lateDel -> idle | BIT(w) : idle & ~BIT(w))
}

/* The lowest node in m. */
inline pick(m) { j = ((m) & 1 -> 0 : ((m) & 2 -> 1 : 2)) }

inline takeBack() {
	pick(back); back = back & ~BIT(j);
	sendRollback(backGen, calling);
	if :: LOSES(REPEAT) -> repeats = repeats | BIT(j); losses++ :: skip fi;
	if :: !back -> backGen = 0; calling = 0 :: else fi
}

/* An attempt is lost. What was granted, or may have been, is rolled back. It notifies if
 * others may have seen us as the one owner: alone, or among the readers. */
inline lose() {
	back = got | (unknown & ~(overtaken -> 0 : late)); backGen = gen;
	calling = COUNT(got | unknown) > SPARE || (READS(w) && SEESREADERS);
	if
	:: COUNT(got | refused) <= SPARE || COUNT(unknown) > SPARE -> phase = AWAKE     /* it polls */
	:: else -> phase = ((got | unknown) && !OWNED -> AWAKE : ASLEEP)                /* a split vote */
	fi;
	forget();
	do :: ATONCE && back -> takeBack() :: else -> break od
}


proctype Process(byte w) {
	byte j, k, phase = AWAKE;
	byte ask;               /* nodes that the current attempt has yet to ask */
	byte got, unknown, refused, seen[N];    /* what they answered, and who has the lock there */
	byte gen = 1;           /* of its token, 1 or 2 */
	byte leave;             /* nodes to which a release with the ticket is to go */
	byte back, backGen;     /* nodes on which the attempt before it is to be rolled back */
	bit calling;            /* with notifications */
	byte repeats;           /* rollbacks to be repeated */
	byte late, lateDel;     /* an acquire that may yet arrive, and is to be deleted */
	bit overtaken;          /* a later attempt has asked there */
	bit downgraded;
	bit granted;
	byte lower;             /* nodes that a downgrade has yet to reach */

end:	do
	:: atomic { phase == AWAKE || (phase == ASLEEP && calls[w]) ->
		phase = TRY; gen = (ATONCE -> 1 : 3 - gen); ask = ALL; calls[w] = 0; done() }
	:: atomic { phase == TRY && (ask & ~back) -> pick(ask & ~back); ask = ask & ~BIT(j);
		repeats = repeats & ~BIT(j); overtaken = overtaken || ((late | lateDel) & BIT(j));
		if
		:: LOSES(REQUEST) -> unknown = unknown | BIT(j); losses++
		:: LOSES(LATE) && !late && !lateDel -> unknown = unknown | BIT(j); losses++; late = BIT(j); lateDel = BIT(j); overtaken = 0
		:: sendAcquire(gen); granted = (READS(w) -> JOINED(gen) : lock[j] == TOKEN(gen));
			if
			:: LOSES(REPLY) -> losses++;
				if
				:: ask = ask | BIT(j)                   /* it is sent again */
				:: unknown = unknown | BIT(j)
				fi
			:: granted -> got = got | BIT(j)
			:: !granted -> refused = refused | BIT(j); seen[j] = lock[j]
			fi
		fi; granted = 0;
		if
		:: COUNT(got) >= Q -> enter(); forget(); phase = HOLDS; leave = ALL
		:: COUNT(got) < Q && !ask -> lose()
		:: else
		fi;
		done() }

	/* What the attempt before has left to be rolled back. */
	:: atomic { back -> takeBack(); done() }
	:: atomic { repeats -> pick(repeats); repeats = repeats & ~BIT(j);
		if
		:: phase == DONE || phase == LEAVE || phase == UNLOCK -> sendRelease(NOWHERE, 1)
		:: phase == HOLDS || phase == EXPIRES
		:: else -> sendRollback(NOWHERE, 0)
		fi; done() }

	/* A late acquire arrives, or never does; its deletion is repeated until then. */
	:: atomic { late -> pick(late);
		if
		:: sendAcquire(LATEGEN)
		:: skip
		fi; late = 0; done() }
	:: atomic { lateDel && !late && phase != TRY && phase != HOLDS && phase != EXPIRES && !back -> pick(lateDel); lateDel = 0;
		if
		:: overtaken -> sendRelease(LATEGEN, 0)
		:: !overtaken && (phase == DONE || phase == LEAVE || phase == UNLOCK) -> sendRelease(LATEGEN, 1)
		:: else -> sendRollback(LATEGEN, 1)
		fi; done() }

	/* A holder. Those it has yet to ask join its lock, or refuse; so does a node that
	 * notifies it. Its release goes to all, and settles what is left there. */
	:: atomic { (phase == HOLDS || phase == UNLOCK) && (ask & ~back) -> pick(ask & ~back); ask = ask & ~BIT(j);
		if
		:: sendAcquire(gen)
		:: phase != HOLDS       /* it is not sent any more */
		fi; done() }
	:: atomic { phase == HOLDS && calls[w] && !downgraded -> pick(calls[w]); calls[w] = calls[w] & ~BIT(j);
		if :: ask = ask | BIT(j) :: skip fi; done() }
	:: atomic { DOWNGRADE && phase == HOLDS && !READS(w) && !downgraded && !ask ->
		downgraded = 1; writing--; reading++; lower = ALL; done() }
	:: atomic { lower -> pick(lower); lower = lower & ~BIT(j); downgrade(gen); done() }
	:: atomic { phase == HOLDS && !lower -> leaves(); phase = UNLOCK; done() }
	:: atomic { phase == HOLDS && deaths < DIE && !back && !repeats && !late && !lateDel ->
		leaves(); deaths++; phase = EXPIRES; leave = ALL; ask = 0; lower = 0;
		k = 0; do :: k < N -> queue[k] = queue[k] & ~BIT(w); k++ :: else -> break od; k = 0; done() }
	:: atomic { phase == EXPIRES && leave -> pick(leave); leave = leave & ~BIT(j); expire(gen);
		if :: !leave -> phase = DONE; gen = 1; downgraded = 0; calls[w] = 0 :: else fi; done() }
	:: atomic { (phase == UNLOCK || phase == LEAVE) && (leave & ~ask & ~back) -> pick(leave & ~ask & ~back);
		if :: leave = leave & ~BIT(j) :: LOSES(REPEAT) -> losses++ fi;
		if :: READS(w) || downgraded -> releaseShared(gen, 1) :: else -> release(gen, 1) fi;
		if :: !leave -> phase = DONE; gen = 1; downgraded = 0 :: else fi; done() }

	/* Giving up. */
	:: atomic { GIVE && (phase == AWAKE || phase == ASLEEP) ->
		forget(); gen = (back -> gen : 1); phase = LEAVE; leave = ALL; done() }

	/* A notification that nobody is there to hear is passed on. */
	:: atomic { (phase == DONE || phase == LEAVE || phase == UNLOCK || downgraded) && calls[w] && !ask -> pick(calls[w]);
		calls[w] = calls[w] & ~BIT(j); sendRelease(NOWHERE, 1); done() }

	:: atomic { CRASH && phase == ASLEEP && (idle & BIT(w)) && !calls[w] &&
		lock[0] != RESERVED(w) && lock[N/2] != RESERVED(w) && lock[N-1] != RESERVED(w) ->
		k = 0; do :: k < N -> queue[k] = queue[k] & ~BIT(w); k++ :: else -> break od; k = 0;
		phase = DONE; gen = 1; done() }
	od
}

/* Everybody sleeps without a notification or has finished, and somebody sleeps. */
#define STILL(v) (W < v || ((idle & BIT(v)) && !calls[v]))
active proctype Monitor() {
end:	atomic { asleep && STILL(1) && STILL(2) && STILL(3) && STILL(4) -> assert(false) }
}

init {
	atomic {
		run Process(1);
		if :: W > 1 -> run Process(2) :: else fi;
		if :: W > 2 -> run Process(3) :: else fi;
		if :: W > 3 -> run Process(4) :: else fi
	}
}
